// The bottom: all frames at once. Which are done, where strokes are, where masks are in doubt.

import { state, on, tell, element, cssColour, icon, goTo, keep, say, BACKGROUND } from "./state.js";
import { look } from "./api.js";
import { select } from "./objects.js";

const canvas = element("timeline");
const context = canvas.getContext("2d");
const SIDE = 8; // CSS pixels left and right of the first and last frame
const TICKS = 14; // height of the rows, CSS pixels
const STATES = 10;
const MOST_ROWS = 8; // of objects
let asked = false;
let playStart = null;

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (state.project && canvas.clientWidth) paint();
  });
}

const styles = getComputedStyle(document.documentElement);
const ink = (name) => styles.getPropertyValue(`--${name}`).trim();
const span = () => canvas.clientWidth - 2 * SIDE;
const left = (frame) => SIDE + (frame / state.project.frames) * span();

function paint() {
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  paintStates();
  paintDoubt(height);
  paintTicks();
  paintFlag(height);
  paintHead(height);
}

function bar(first, last, fill) {
  context.fillStyle = fill;
  context.fillRect(left(first), TICKS, Math.max(1, left(last + 1) - left(first)), STATES);
}

function hatch() {
  const tile = new OffscreenCanvas(6, 6);
  const pen = tile.getContext("2d");
  pen.fillStyle = ink("provisional");
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = ink("panel");
  pen.lineWidth = 1.5;
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift, 6);
    pen.lineTo(shift + 6, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

function paintStates() {
  const { done, provisional, stale } = state.project.states;
  for (const [a, b] of stale) bar(a, b, ink("stale"));
  for (const [a, b] of provisional) bar(a, b, hatch());
  for (const [a, b] of done) bar(a, b, ink("done"));
}

// A row an object: the higher, the more doubtful.
function paintDoubt(height) {
  const numbers = state.project.objects.map((one) => one.number).filter((one) => one !== BACKGROUND);
  const rows = numbers.slice(0, MOST_ROWS);
  if (!rows.length) return;
  const top = TICKS + STATES + 3;
  const row = (height - top) / rows.length;
  const { frames } = state.project;
  const columns = Math.min(frames, Math.ceil(span()));
  rows.forEach((number, index) => {
    const base = top + (index + 1) * row;
    context.fillStyle = ink("row");
    context.fillRect(SIDE, base - row + 1, span(), row - 1);
    context.fillStyle = cssColour(number, 0.85);
    for (let column = 0; column < columns; column += 1) {
      const first = Math.floor((column * frames) / columns);
      const past = Math.max(first + 1, Math.floor(((column + 1) * frames) / columns));
      let most = -1;
      for (let frame = first; frame < past; frame += 1) most = Math.max(most, state.doubt.get(frame)?.[number] ?? -1);
      if (most < 0) continue;
      const high = Math.max(1, ((row - 2) * most) / 100);
      context.fillRect(left(first), base - high, Math.max(1, left(past) - left(first)), high);
    }
    if (row < 9) return;
    context.fillStyle = ink("text");
    context.font = "600 10px system-ui, sans-serif";
    context.textBaseline = "bottom";
    context.fillText(String(number), SIDE + 2, base);
  });
}

function paintTicks() {
  for (const [frame, numbers] of Object.entries(state.project.stroked)) {
    const middle = (left(Number(frame)) + left(Number(frame) + 1)) / 2;
    numbers.forEach((number, index) => {
      const wide = Math.min(7, 28 / numbers.length); // so that many stay above their frame
      const most = canvas.clientWidth - numbers.length * wide - 1;
      const x = Math.max(1, Math.min(most, middle - (numbers.length * wide) / 2)) + index * wide;
      context.fillStyle = cssColour(number);
      context.strokeStyle = ink("text");
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x, 1);
      context.lineTo(x + wide, 1);
      context.lineTo(x + wide / 2, TICKS - 2);
      context.closePath();
      context.fill();
      if (wide > 4) context.stroke();
    });
  }
}

function paintFlag(height) {
  const advice = state.project.next;
  if (!advice || advice.frame === null || advice.frame === undefined) return;
  const x = (left(advice.frame) + left(advice.frame + 1)) / 2;
  context.strokeStyle = context.fillStyle = ink("flag");
  context.lineWidth = 2;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(x, TICKS);
  context.lineTo(x, height);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(x, TICKS);
  context.lineTo(x + 11, TICKS + 5);
  context.lineTo(x, TICKS + 10);
  context.fill();
}

function paintHead(height) {
  const [from, to] = [left(state.frame), left(state.frame + 1)];
  context.strokeStyle = ink("text");
  context.lineWidth = 2;
  context.strokeRect(from - 1, 1, Math.max(3, to - from + 2), height - 2);
}

function seek(event) {
  const box = canvas.getBoundingClientRect();
  goTo(Math.floor(((event.clientX - box.left - SIDE) / span()) * state.project.frames));
}

// Frames with strokes: the one before or after.
export function toStroked(direction) {
  if (!state.project) return;
  const frames = Object.keys(state.project.stroked).map(Number).sort((a, b) => a - b);
  const found = direction < 0 ? frames.findLast((one) => one < state.frame) : frames.find((one) => one > state.frame);
  if (found !== undefined) goTo(found);
}

export function toNext() {
  const advice = state.project?.next;
  if (!advice) return say("Run first: where a stroke helps most shows when masks are there.");
  if (advice.frame === null) return say(advice.reason);
  goTo(advice.frame);
  if (advice.object) select(advice.object);
}

export function play(on = !state.playing) {
  state.playing = on;
  playStart = null;
  if (on && state.frame === state.project.frames - 1) goTo(0);
  showPlay();
  if (on) requestAnimationFrame(advance);
}

function showPlay() {
  element("play").replaceChildren(icon(state.playing ? "pause" : "run"));
  element("play").setAttribute("aria-label", state.playing ? "Pause (Space)" : "Play (Space)");
}

// The next frame when its time has come and the one before has been shown.
function advance(now) {
  if (!state.playing || !state.project) return showPlay();
  playStart ??= { now, waiting: false };
  if (!playStart.waiting && now - playStart.now >= 1000 / state.project.fps - 2) {
    if (state.frame >= state.project.frames - 1) return play(false);
    const pause = 1000 / state.project.fps;
    playStart = { now: Math.max(playStart.now + pause, now - pause), waiting: true };
    goTo(state.frame + 1);
  }
  requestAnimationFrame(advance);
}

function showFrame() {
  const { frames, names } = state.project;
  element("number").value = state.frame;
  element("number").max = frames - 1;
  element("of").textContent = `of ${frames - 1}${names && names[state.frame] !== String(state.frame) ? ` (${names[state.frame]})` : ""}`;
  canvas.setAttribute("aria-valuemax", frames - 1);
  canvas.setAttribute("aria-valuenow", state.frame);
  canvas.setAttribute("aria-valuetext", `frame ${state.frame} of ${frames - 1}`);
  redraw();
}

function showAdvice() {
  const advice = state.project?.next;
  const where = advice && advice.frame !== null ? `Frame ${advice.frame}, object ${advice.object}: ` : "";
  element("advice").textContent = element("advice").title = advice ? `${where}${advice.reason ?? ""}` : "";
  redraw();
}

export function begin() {
  canvas.addEventListener("pointerdown", (event) => {
    if (!state.project || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    seek(event);
  });
  canvas.addEventListener("pointermove", (event) => event.buttons & 1 && state.project && canvas.hasPointerCapture(event.pointerId) && seek(event));
  element("number").addEventListener("change", (event) => {
    goTo(Number(event.target.value));
    showFrame();
  });
  const presses = {
    first: () => goTo(0),
    back: () => goTo(state.frame - 1),
    forth: () => goTo(state.frame + 1),
    last: () => goTo(state.project.frames - 1),
    play: () => play(),
    "stroked-before": () => toStroked(-1),
    "stroked-after": () => toStroked(1),
    next: toNext,
  };
  for (const [id, call] of Object.entries(presses)) element(id).addEventListener("click", call);
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

on("frame", () => {
  showFrame();
  look();
  keep();
});
on("shown", () => playStart && (playStart.waiting = false));
on("project", () => state.project && (showFrame(), showAdvice()));
on("progress strokes objects mask", redraw);
on("next", showAdvice);
