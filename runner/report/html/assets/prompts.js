// Prompts from their differences: [move whose prompt it rests on or null, characters kept, the rest].

/** The messages of the prompt of `moves[place]`; null where they cannot be had. */
export function promptOf(moves, place) {
  const chain = [];
  for (let at = place; at !== null && at !== undefined; at = moves[at].prompt[0]) {
    if (!moves[at]?.prompt || chain.length > moves.length) return null;
    chain.push(at);
  }
  let text = "";
  for (const at of chain.reverse()) text = text.slice(0, moves[at].prompt[1]) + moves[at].prompt[2];
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
