// What the page carries: the list of games, and each game packed (gzip, base64) until it is opened.

const unpacked = new Map();

/** The JSON value in the data block `id`; null where there is none. */
export function stored(id) {
  const node = document.getElementById(id);
  return node === null ? null : JSON.parse(node.textContent);
}

/** The JSON value in a packed data block. */
export async function unpack(id) {
  if (unpacked.has(id)) return unpacked.get(id);
  const text = stored(id);
  if (text === null) return null;
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const value = JSON.parse(await new Response(stream).text());
  if (unpacked.size > 40) unpacked.delete(unpacked.keys().next().value);
  unpacked.set(id, value);
  return value;
}

/** The list of games, a row each. */
export async function readGames() {
  const columns = await unpack("list");
  const names = Object.keys(columns);
  return columns.id.map((_, place) => ({ place, ...Object.fromEntries(names.map((name) => [name, columns[name][place]])) }));
}
