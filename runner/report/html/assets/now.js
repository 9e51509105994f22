// The moves of one turn in full: question, answer, thoughts, the raw reply and the prompt.

import { el } from "./dom.js";
import { isOpen } from "./frames.js";
import { action, hiddenMoves, marks, name, verb } from "./log.js";
import { promptOf } from "./prompts.js";
import { label, said } from "./text.js";

/** The card of one frame. */
export function drawNow(game, frame, show, entry) {
  if (frame.turn === null) return ending(game, entry, show);
  const seen = frame.moves.filter((move) => show.roles || isOpen(move));
  const secret = frame.moves.length - seen.length;
  return el(
    "div",
    { class: "now" },
    el("h3", {}, `Turn ${frame.turn}`, frame.moves.length > 1 ? el("span", { class: "quiet" }, ` · ${frame.moves.length} moves at once`) : null),
    seen.map((move) => card(game, move, show)),
    secret ? el("article", { class: "card quiet" }, el("p", {}, `${hiddenMoves(secret)}. Press `, el("kbd", {}, "R"), " to see.")) : null,
  );
}

function card(game, move, show) {
  const facts = [
    move.model ? label(move.model) : null,
    move.tokens?.[0] ? `${move.tokens[0].toLocaleString("en")} tokens in (${Math.round((100 * move.tokens[1]) / move.tokens[0])}% cached), ${move.tokens[2].toLocaleString("en")} out` : null,
    move.seconds ? `${move.seconds.toLocaleString("en")} s` : null,
    move.finish && move.finish !== "stop" ? `ended by ${move.finish}` : null,
  ].filter(Boolean);
  return el(
    "article",
    { class: "card" },
    el("p", { class: "line" }, name(game, move.seat, show), verb(move), action(game, move), marks(move)),
    move.refused !== undefined ? el("p", { class: "why" }, "Refused: ", said(move.refused, {}, 300)) : null,
    move.ask ? fold("Question", false, said(move.ask)) : null,
    move.thought ? fold("Thoughts", show.thoughts, said(move.thought)) : null,
    move.reply !== undefined ? fold("Reply as it came", false, said(move.reply)) : null,
    move.prompt ? fold("Prompt", show.prompts, () => prompt(game, move)) : null,
    el("p", { class: "facts" }, facts.flatMap((fact, i) => [i ? " · " : null, fact])),
  );
}

/** A part that is made when it is opened. */
function fold(title, open, content) {
  const body = el("div", { class: "body" });
  const build = () => body.childNodes.length || body.append(...[typeof content === "function" ? content() : content].flat());
  const node = el("details", { ontoggle: () => node.open && build() }, el("summary", {}, title), body);
  if (open) {
    node.open = true;
    build();
  }
  return node;
}

function prompt(game, move) {
  const messages = promptOf(game.moves, game.moves.indexOf(move));
  if (!Array.isArray(messages)) return [el("p", {}, "This prompt rests on one that was not recorded.")];
  return messages.map((message) => el("div", { class: "message" }, el("span", { class: "chip" }, label(String(message.role))), said(String(message.content), {}, 6000)));
}

function ending(game, entry, show) {
  const scores = game.seats.filter((seat) => seat.reward !== undefined && seat.reward !== null);
  const how = entry.status === "finished" ? (entry.winner === null ? "Nobody won." : null) : `This game is ${entry.status}.`;
  return el(
    "div",
    { class: "now" },
    el("h3", {}, "The end"),
    el("article", { class: "card" },
      el("p", { class: "line" }, how ?? el("span", {}, "Winner: ", label(String(entry.winner), { class: "target" }))),
      entry.why ? el("p", { class: "why" }, said(entry.why, {}, 400)) : null,
      scores.length ? el("table", { class: "scores" }, el("caption", {}, "Rewards"), el("tbody", {}, scores.map((seat) => score(seat, show)))) : null,
      facts(game)),
  );
}

function score(seat, show) {
  return el("tr", {}, el("th", { scope: "row" }, label(seat.name)), el("td", {}, seat.role && show.roles ? label(seat.role) : ""), el("td", {}, seat.model ? label(seat.model) : ""), el("td", { class: "number" }, Number(seat.reward).toLocaleString("en")), el("td", {}, seat.survived === false ? "out" : ""));
}

function facts(game) {
  const rows = Object.entries(game.facts ?? {});
  if (!rows.length) return null;
  const body = rows.map(([key, value]) => el("tr", {}, el("th", { scope: "row" }, label(key)), el("td", {}, said(typeof value === "string" ? value : JSON.stringify(value), {}, 200))));
  return fold("What the game reports", false, el("table", { class: "scores" }, el("tbody", {}, body)));
}
