// Texts whose contrast is below WCAG AA, 4.5 to 1; at most eight of them.
const rgb = (text) => {
  const parts = text.match(/[\d.]+/g).map(Number);
  return [parts[0], parts[1], parts[2], parts[3] ?? 1];
};
const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) =>
  0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = rgb(getComputedStyle(at).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
const SKIPPED = "script, style, option, title, .skip, .hidden-text, :disabled";
const bad = new Set();
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const text = walk.currentNode.data.trim();
  const node = walk.currentNode.parentElement;
  if (!text || !node.checkVisibility() || node.closest(SKIPPED)) continue;
  const drawn = node.namespaceURI.endsWith("svg");
  const style = getComputedStyle(node);
  const disc = node.classList.contains("letter") ? node.parentElement.querySelector("circle") : null;
  const under = disc ? rgb(getComputedStyle(disc).fill) : ground(node);
  const ink = rgb(drawn ? style.fill : style.color);
  const [more, less] = [light(ink), light(under)].sort((a, b) => b - a);
  const ratio = (more + 0.05) / (less + 0.05);
  if (ratio < 4.5) bad.add(`${node.outerHTML.slice(0, 60)} ${ratio.toFixed(2)}: ${text.slice(0, 30)}`);
}
return [...bad].slice(0, 8);
