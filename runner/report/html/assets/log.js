// The game in words: everything that was told, said and chosen, in order. A click moves there.

import { el } from "./dom.js";
import { isOpen } from "./frames.js";
import { label, said } from "./text.js";

/** The whole log. `show`: which of roles and thoughts are to be seen; `part`: turn at which a fork leaves. */
export function drawLog(game, show, part, goTo) {
  const list = el("ol", { class: "log", "aria-label": "What happened" });
  let parted = part === null;
  game.frames.forEach((frame, place) => {
    if (!parted && (frame.turn === null || frame.turn >= part)) {
      list.append(el("li", { class: "part" }, `From turn ${part} on the fork goes its own way`));
      parted = true;
    }
    const events = frame.events.flatMap((event) => entry(game, event, show));
    const secret = frame.moves.filter((move) => !isOpen(move) && !show.roles).length;
    if (secret) events.push(el("p", { class: "quiet" }, hiddenMoves(secret)));
    const turn = frame.turn ?? "end";
    list.append(
      el("li", { class: "frame", "data-frame": place, onclick: (event) => event.target.closest("button, a, summary") || goTo(place) },
        el("button", { type: "button", class: "turn", title: "Go to this turn", "aria-label": frame.turn === null ? "Go to the end" : `Go to turn ${turn}`, onclick: () => goTo(place) }, String(turn)),
        el("div", { class: "events" }, events.length ? events : el("p", { class: "quiet" }, frame.turn === null ? "The game is over." : "…")),
      ),
    );
  });
  return list;
}

function entry(game, event, show) {
  if (event.k === "phase") return [el("h4", { class: event.dark ? "phase dark" : "phase" }, event.dark ? "☾ " : "", label(event.text))];
  const open = isOpen(event);
  if (event.k === "told") {
    if (!open && !show.roles) return [];
    const to = open ? null : el("span", { class: "to" }, "only ", names(game, event.to), ": ");
    return [el("p", { class: open ? "told" : "told secret" }, to, said(event.text))];
  }
  if (!open && !show.roles) return []; // not even whose: who acts at night has a role
  return [
    el("p", { class: open ? "move" : "move secret" }, name(game, event.seat, show), verb(event), action(game, event), marks(event)),
    show.thoughts && event.thought ? el("p", { class: "thought" }, el("span", { class: "quiet" }, "thinks: "), said(event.thought, {}, 600)) : null,
  ].filter(Boolean);
}

/** What stands for secret moves while they are hidden. */
export function hiddenMoves(count) {
  return count === 1 ? "a secret move" : `${count} secret moves`;
}

/** A seat's name, with its role where roles are shown. */
export function name(game, place, show) {
  const seat = game.seats[place];
  const role = show.roles && seat.role ? el("span", { class: "chip" }, label(seat.role)) : null;
  return el("span", { class: "who" }, label(seat.name), role ? " " : null, role);
}

function names(game, places) {
  return el("span", {}, places.flatMap((place, i) => [i ? ", " : null, label(game.seats[place].name)]));
}

/** What the move does, in the game's words where it gave some. */
export function verb(move) {
  if (move.kind === "say") return el("span", { class: "quiet" }, move.verb ? ` (${move.verb}): ` : ": ");
  return el("span", { class: "quiet" }, ` ${move.verb ?? (move.kind === "choose" ? "chooses" : "answers")} `);
}

/** What was said or chosen. */
export function action(game, move) {
  if (move.refused !== undefined && !move.fallback) return said(move.reply ?? move.action ?? "", { class: "refused" }, 300);
  if (move.target !== undefined) return label(game.seats[move.target].name, { class: "target" });
  return said(move.action ?? "", { class: move.kind === "say" ? "speech" : "choice" });
}

/** What went wrong with it. */
export function marks(move) {
  const found = [];
  if (move.refused !== undefined) found.push(el("span", { class: "chip bad" }, move.fallback ? "fallback" : "refused"));
  if (move.finish === "length") found.push(el("span", { class: "chip bad" }, "cut off"));
  return found.length ? el("span", {}, " ", found) : null;
}
