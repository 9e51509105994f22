// Shows what models and games wrote. It is untrusted: it stays text, stays in its own direction,
// shows its control characters, and is cut when it is long.

import { el } from "./dom.js";

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;
const SHOWN = 1500;

/** A block of somebody's words. */
export function said(text, attributes = {}, shown = SHOWN) {
  const node = el("span", { ...attributes, class: `said ${attributes.class ?? ""}`.trim() });
  if (text.length <= shown * 1.2) {
    node.append(...pieces(text));
    return node;
  }
  const end = /[\ud800-\udbff]/.test(text[shown - 1]) ? shown - 1 : shown;
  const more = el("button", { type: "button", class: "more", onclick: open }, `… show all ${text.length.toLocaleString("en")} characters`);
  function open(event) {
    event.stopPropagation();
    node.replaceChildren(...pieces(text));
    node.classList.add("whole");
    node.tabIndex = 0; // it scrolls by itself now, so it must be reachable
    node.focus();
  }
  node.append(...pieces(text.slice(0, end)), more);
  return node;
}

/** A short text on one line: a name, a label. */
export function label(text, attributes = {}) {
  const cut = text.length > 120 ? `${text.slice(0, 119)}…` : text;
  return el("bdi", attributes, ...pieces(cut.replace(/[\r\n\t]+/g, " ")));
}

/** The text as plain characters, for titles and accessible names. */
export function plain(text, longest = 120) {
  const visible = Array.from(text.slice(0, longest), (char) => (HIDDEN.test(char) ? "\ufffd" : char)).join("");
  return text.length > longest ? `${visible}…` : visible;
}

function pieces(text) {
  if (!HIDDEN.test(text)) return [document.createTextNode(text)];
  return text.split(new RegExp(`(${HIDDEN.source})`)).filter(Boolean).map((part) => {
    if (!HIDDEN.test(part)) return document.createTextNode(part);
    const code = `U+${part.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    return el("span", { class: "control", title: `control character ${code}` }, part === "\u001b" ? "ESC" : code);
  });
}
