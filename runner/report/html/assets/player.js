// One game on the screen: the table, the turn in full, and the log, all at the same turn.

import { el, fill } from "./dom.js";
import { frameAt } from "./frames.js";
import { drawLog } from "./log.js";
import { drawNow } from "./now.js";
import { drawTable } from "./table.js";
import { label } from "./text.js";

export class Player {
  /** `entry` is the game's row in the list; `moved` is called with the turn after a step. */
  constructor(entry, game, show, part, moved) {
    this.entry = entry;
    this.game = game;
    this.show = show;
    this.part = part;
    this.moved = moved;
    this.at = 0;
    this.picture = el("div", { class: "picture" });
    this.nowCard = el("div", { class: "now-card", "aria-live": "polite" });
    this.logBox = el("div", { class: "log-box", tabindex: 0, role: "region", "aria-label": "Log of the game" });
    this.node = el("div", { class: "player" },
      el("div", { class: "left" }, this.picture, this.nowCard), this.logBox);
  }

  /** A heading for when two games stand side by side. */
  titled(text) {
    this.node.prepend(el("h3", { class: "player-title" }, text, " ", this.entry.winner ? el("span", { class: "quiet" }, "won by ", label(this.entry.winner)) : null));
    return this;
  }

  get turn() {
    const turn = this.game.frames[this.at].turn;
    return turn === null ? "end" : turn;
  }

  redraw() {
    fill(this.logBox, drawLog(this.game, this.show, this.part, (place) => this.go(place)));
    this.draw();
  }

  draw() {
    const frame = this.game.frames[this.at];
    fill(this.picture, drawTable(this.game, frame, this.show.roles));
    fill(this.nowCard, drawNow(this.game, frame, this.show, this.entry));
    this.logBox.querySelector(".frame.current")?.classList.remove("current");
    for (const old of this.logBox.querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
    const line = this.logBox.querySelector(`.frame[data-frame="${this.at}"]`);
    line.classList.add("current");
    line.querySelector(".turn").setAttribute("aria-current", "step");
    const box = this.logBox;
    const [top, low] = [line.offsetTop, line.offsetTop + line.offsetHeight];
    if (top < box.scrollTop + 40 || low > box.scrollTop + box.clientHeight - 40) box.scrollTop = top - box.clientHeight / 3;
  }

  /** Moves to a frame and tells of it. */
  go(place) {
    this.at = Math.max(0, Math.min(this.game.frames.length - 1, place));
    this.draw();
    this.moved(this);
  }

  /** Follows another game to the same turn. */
  follow(turn) {
    this.at = frameAt(this.game, turn);
    this.draw();
  }

  /** The first frame of the next (or, with -1, the previous) phase. */
  phase(by) {
    const frames = this.game.frames;
    const starts = frames.map((frame, i) => (i === 0 || frame.phase !== frames[i - 1].phase || i === frames.length - 1 ? i : -1)).filter((i) => i >= 0);
    this.go(by > 0 ? (starts.find((i) => i > this.at) ?? frames.length - 1) : (starts.findLast((i) => i < this.at) ?? 0));
  }
}
