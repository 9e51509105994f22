// The table as a picture: seats in a ring, arrows from who chose to whom, the dead crossed out.
// The same is in words beside it, so the picture is one image to a screen reader.

import { el } from "./dom.js";
import { plain } from "./text.js";
import { isOpen } from "./frames.js";

const WIDTH = 520;
const ROUND = 21;
let pictures = 0;

/** The picture of one frame. `secrets`: whether roles and hidden moves are shown. */
export function drawTable(game, frame, secrets) {
  const number = ++pictures;
  const height = tall(game.seats.length);
  const spots = game.seats.map((_, place) => spot(place, game.seats.length, height));
  const arrows = frame.moves.filter((move) => move.target !== undefined && (secrets || isOpen(move)));
  const verbs = [...new Set(arrows.map((move) => move.verb ?? "chooses"))];
  const acting = new Set(frame.moves.filter((move) => secrets || isOpen(move)).map((move) => move.seat));
  const svg = el(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": spoken(game, frame, arrows), class: "table" },
    el("defs", {}, verbs.map((_, kind) => head(number, kind))),
    arrows.map((move) => arrow(move, spots, arrows, number, verbs.indexOf(move.verb ?? "chooses"))),
    game.seats.map((_, place) => chair(game, place, { ...spots[place], height }, frame, acting, secrets)),
  );
  const legend = verbs.map((verb, kind) => el("li", { class: `verb k${kind % 5}` }, plain(verb, 40)));
  return el("figure", { class: frame.phase?.dark ? "ring night" : "ring" },
    el("figcaption", {}, heading(frame)), svg, legend.length ? el("ul", { class: "legend" }, legend) : null);
}

function heading(frame) {
  if (!frame.phase) return frame.turn === null ? "The end" : "";
  const sign = frame.phase.dark ? "☾ " : "";
  return `${sign}${plain(frame.phase.text, 60)}${frame.turn === null ? " · the end" : ""}`;
}

function tall(count) {
  return count <= 2 ? 130 : count <= 4 ? 270 : 340;
}

function spot(place, count, height) {
  const angle = (2 * Math.PI * place) / count - (count === 2 ? Math.PI : Math.PI / 2);
  return { x: WIDTH / 2 + 165 * Math.cos(angle), y: height / 2 + 4 + (height / 2 - 58) * Math.sin(angle) };
}

function chair(game, place, { x, y, height }, frame, acting, secrets) {
  const seat = game.seats[place];
  const at = caption(x, y, height);
  const dead = frame.gone.has(place) || (frame.turn === null && seat.survived === false);
  const names = ["chair", `team${secrets ? teamColour(game, seat) : 0}`];
  if (dead) names.push("dead");
  if (acting.has(place)) names.push("acting");
  if (frame.turn === null && seat.won) names.push("won");
  return el(
    "g",
    { class: names.join(" ") },
    el("circle", { cx: x, cy: y, r: ROUND }),
    el("text", { x, y: y + 6, class: "letter" }, plain(seat.name, 40).slice(0, 1)),
    dead ? el("path", { d: `M${x - 15} ${y - 15}L${x + 15} ${y + 15}M${x + 15} ${y - 15}L${x - 15} ${y + 15}`, class: "cross" }) : null,
    el("text", { x: at.x, y: at.name, class: `name ${at.side}` }, plain(seat.name, 14)),
    secrets && seat.role ? el("text", { x: at.x, y: at.role, class: `role ${at.side}` }, plain(seat.role, 18)) : null,
  );
}

/** Where a seat's name and role stand: outside the ring, where no arrow goes. */
function caption(x, y, height) {
  const aside = (x - WIDTH / 2) / 165;
  if (Math.abs(aside) > 0.8 && height > 200) {
    const right = aside > 0;
    return { x: right ? x + ROUND + 7 : x - ROUND - 7, name: y + 1, role: y + 15, side: right ? "at-right" : "at-left" };
  }
  return y < height / 2 ? { x, name: y - ROUND - 7, role: y - ROUND - 21, side: "" } : { x, name: y + ROUND + 15, role: y + ROUND + 29, side: "" };
}

function teamColour(game, seat) {
  const side = (one) => one.team ?? one.role ?? null;
  const sides = [...new Set(game.seats.map(side))].filter((one) => one !== null).sort();
  return side(seat) === null ? 0 : 1 + (sides.indexOf(side(seat)) % 4);
}

function arrow(move, spots, all, number, kind) {
  const from = spots[move.seat];
  const to = spots[move.target];
  if (move.seat === move.target) {
    const d = `M${from.x - 12} ${from.y - ROUND}C${from.x - 30} ${from.y - 62},${from.x + 30} ${from.y - 62},${from.x + 13} ${from.y - ROUND - 4}`;
    return el("path", { d, class: `arrow k${kind % 5}`, "marker-end": `url(#head-${number}-${kind})` });
  }
  const mutual = all.some((other) => other.seat === move.target && other.target === move.seat);
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const [ux, uy] = [(to.x - from.x) / length, (to.y - from.y) / length];
  const bend = mutual ? 22 : 8;
  const [cx, cy] = [(from.x + to.x) / 2 - uy * bend, (from.y + to.y) / 2 + ux * bend];
  const d = `M${from.x + ux * (ROUND + 3)} ${from.y + uy * (ROUND + 3)}Q${cx} ${cy},${to.x - ux * (ROUND + 9)} ${to.y - uy * (ROUND + 9)}`;
  return el("path", { d, class: `arrow k${kind % 5}`, "marker-end": `url(#head-${number}-${kind})` });
}

function head(number, kind) {
  const box = { id: `head-${number}-${kind}`, viewBox: "0 0 10 10", refX: 6, refY: 5, markerWidth: 5.5, markerHeight: 5.5, orient: "auto" };
  return el("marker", box, el("path", { d: "M0 0L10 5L0 10z", class: `tip k${kind % 5}` }));
}

function spoken(game, frame, arrows) {
  const name = (place) => plain(game.seats[place].name, 40);
  const words = arrows.map((move) => `${name(move.seat)} ${plain(move.verb ?? "chooses", 40)} ${name(move.target)}`);
  const gone = [...frame.gone].map(name);
  const seats = game.seats.map((_, place) => name(place)).join(", ");
  return `Seats: ${seats}.${gone.length ? ` Out of the game: ${gone.join(", ")}.` : ""}${words.length ? ` ${words.join(", ")}.` : ""}`;
}
