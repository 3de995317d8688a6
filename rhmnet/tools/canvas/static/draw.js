// The hand: pointers on the stage become strokes, zoom and movement.
// A stroke shows at once, by itself, whatever the server and the network do.

import { state, on, element, cssColour, objectOf, mayEdit, say, keep } from "./state.js";
import { edit } from "./api.js";
import { view, toVideo, zoom, pan, useView, draw, drawLine, shownFrame } from "./stage.js";

const stage = element("stage");
const echo = element("echo");
const context = echo.getContext("2d");
const ring = element("ring");
const LEAST_MOVE = 0.35; // video pixels between two points
const MOST_POINTS = 20000; // of one edit: a longer line goes on in another
const PALM = 500; // ms after the pen during which touches are the palm's

let stroke = null; // under way: {pointer, frame, object, width, points}
let moving = null; // a pointer that drags the picture: {pointer, x, y}
const touches = new Map(); // pointer -> [x, y]
let penSeen = -Infinity;

function begin(event) {
  if (shownFrame() !== state.frame) return; // the picture is still another frame's
  if (!mayEdit()) return void setTimeout(() => element("take").focus({ focusVisible: true })); // beside it stands why
  const erasing = state.tool === "eraser" || (event.pointerType === "pen" && event.buttons & 32);
  const object = erasing ? 0 : state.object;
  if (object && objectOf(object)?.locked) return say(`${objectOf(object).name} is locked; unlock it to draw on it.`);
  if (object && !objectOf(object)) return say("Choose an object first.");
  state.playing = false;
  stroke = { pointer: event.pointerId, frame: state.frame, object, width: state.size, points: [] };
  stage.setPointerCapture(event.pointerId);
  extend(event);
}

function extend(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  const from = Math.max(0, stroke.points.length - 1);
  for (const one of events.length ? events : [event]) {
    const [x, y] = toVideo(one.clientX, one.clientY);
    const last = stroke.points.at(-1);
    if (!last || Math.hypot(x - last[0], y - last[1]) >= LEAST_MOVE) stroke.points.push([round(x), round(y)]);
  }
  useView(context);
  drawLine(context, { ...stroke, points: stroke.points.slice(from) });
  if (stroke.points.length >= MOST_POINTS) {
    const rest = stroke.points.at(-1);
    send(stroke);
    stroke = { ...stroke, points: [rest] };
  }
}

const round = (value) => Math.round(value * 100) / 100;

function send({ frame, object, width, points }) {
  const [height, wide] = state.project.size;
  const reach = width / 2 + 1;
  const inside = points.some(([x, y]) => x > -reach && y > -reach && x < wide + reach && y < height + reach);
  if (inside) edit({ op: "stroke", frame, object, width, points });
}

function end() {
  if (stroke?.points.length) send(stroke);
  stroke = null;
  clear();
  draw();
}

function forget() {
  stroke = null;
  clear();
}

function clear() {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, echo.width, echo.height);
}

stage.addEventListener("pointerdown", (event) => {
  if (!state.project) return;
  stage.focus({ preventScroll: true, focusVisible: false });
  if (event.pointerType === "pen") {
    penSeen = performance.now();
    if (touches.size) forget(); // what touched before was the palm
    touches.clear();
  }
  if (event.pointerType === "touch") {
    if (performance.now() - penSeen < PALM || (stroke && !touches.has(stroke.pointer))) return;
    touches.set(event.pointerId, [event.clientX, event.clientY]);
    if (touches.size === 2) {
      forget(); // it was the first finger of two
      return;
    }
    if (touches.size > 2) return;
  }
  if (stroke) return;
  if (event.button === 1 || (event.button === 0 && event.altKey)) {
    moving = { pointer: event.pointerId, x: event.clientX, y: event.clientY };
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
  } else if (event.button === 0 || (event.pointerType === "pen" && event.button === 5)) {
    begin(event);
  }
});

stage.addEventListener("pointermove", (event) => {
  if (!state.project) return;
  if (event.pointerType === "pen") penSeen = performance.now();
  place(event);
  if (touches.has(event.pointerId) && touches.size === 2) return pinch(event);
  if (moving?.pointer === event.pointerId) {
    pan(event.clientX - moving.x, event.clientY - moving.y);
    moving = { ...moving, x: event.clientX, y: event.clientY };
  } else if (stroke?.pointer === event.pointerId) {
    extend(event);
  }
});

function pinch(event) {
  const other = [...touches].find(([id]) => id !== event.pointerId)[1];
  const before = touches.get(event.pointerId);
  const now = [event.clientX, event.clientY];
  const middle = (a) => [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2];
  const apart = (a) => Math.max(10, Math.hypot(a[0] - other[0], a[1] - other[1]));
  const [was, is] = [middle(before), middle(now)];
  pan(is[0] - was[0], is[1] - was[1]);
  zoom(apart(now) / apart(before), ...is);
  touches.set(event.pointerId, now);
}

function up(event) {
  touches.delete(event.pointerId);
  if (moving?.pointer === event.pointerId) moving = null;
  if (stroke?.pointer !== event.pointerId) return;
  if (event.type === "pointercancel") stroke = null;
  end();
}

stage.addEventListener("pointerup", up);
stage.addEventListener("pointercancel", up);
stage.addEventListener("auxclick", (event) => event.preventDefault());
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("pointerleave", () => (ring.hidden = true));

stage.addEventListener(
  "wheel",
  (event) => {
    if (!state.project) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const amount = Math.max(-240, Math.min(240, event.deltaY * lines * (event.ctrlKey ? 6 : 1)));
    zoom(Math.exp(-amount / 400), event.clientX, event.clientY);
    place(event);
  },
  { passive: false },
);

// The ring: what the brush will cover.
function place(event) {
  const box = stage.getBoundingClientRect();
  const across = Math.max(3, Math.round(state.size) * view.scale);
  ring.hidden = event.pointerType === "touch";
  ring.style.width = ring.style.height = `${across}px`;
  ring.style.transform = `translate(${event.clientX - box.left - across / 2}px, ${event.clientY - box.top - across / 2}px)`;
  ring.style.borderColor = state.tool === "eraser" ? "#fff" : cssColour(state.object);
}

on("frame", () => stroke && end()); // it stays on the frame that it was begun on
on("tool", () => {
  if (stage.matches(":hover")) ring.style.borderColor = state.tool === "eraser" ? "#fff" : cssColour(state.object);
  keep();
});
on("view", () => {
  if (!stroke) return;
  clear();
  useView(context);
  drawLine(context, stroke);
});
on("saved", draw);
