// The middle of the page: the frame with its masks and strokes, zoomed and moved as one wishes.

import { state, on, tell, element, cssColour, objectOf, BACKGROUND } from "./state.js";
import * as pictures from "./pictures.js";
import { waiting } from "./api.js";

const stage = element("stage");
const canvas = element("picture");
const context = canvas.getContext("2d");
const MOST_ZOOM = 40;
const REST = 120; // ms that a draft or a zoom stands before the frame is asked for anew

export const view = { scale: 1, x: 0, y: 0, fitted: true }; // CSS pixels a video pixel; the frame's corner
let shown = -1; // the frame that the picture shows
let frameBitmap = null;
let isDraft = false; // the bitmap is one
let loading = false; // a frame is under way
let resting = 0; // the timer of a zoom that has not come to rest
let maskLayer = null;
let maskPlaces = [];
let strokeLayer = null;
let strokeFrame = -1;
let asked = false;
let echoes = []; // acknowledged strokes that the stroke layer does not hold yet

export const shownFrame = () => shown;

// Video pixels (centres at whole numbers) of a place on the page, and back.
export function toVideo(clientX, clientY) {
  const box = stage.getBoundingClientRect();
  return [(clientX - box.left - view.x) / view.scale - 0.5, (clientY - box.top - view.y) / view.scale - 0.5];
}

export const toStage = (x, y) => [view.x + (x + 0.5) * view.scale, view.y + (y + 0.5) * view.scale];

export function fit() {
  const [height, width] = state.project.size;
  view.scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  view.x = (stage.clientWidth - width * view.scale) / 2;
  view.y = (stage.clientHeight - height * view.scale) / 2;
  view.fitted = true;
  changed();
}

// Zoom so that the place under (clientX, clientY) stays there.
export function zoom(factor, clientX, clientY) {
  const box = stage.getBoundingClientRect();
  const x = (clientX ?? box.left + box.width / 2) - box.left;
  const y = (clientY ?? box.top + box.height / 2) - box.top;
  const [height, width] = state.project.size;
  const least = 0.5 * Math.min(box.width / width, box.height / height);
  const scale = Math.max(Math.min(least, 1), Math.min(MOST_ZOOM, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  view.fitted = false;
  changed();
}

export function pan(dx, dy) {
  const [height, width] = state.project.size;
  const keep = 40; // CSS pixels of the frame that stay in sight
  view.x = Math.min(stage.clientWidth - keep, Math.max(keep - width * view.scale, view.x + dx));
  view.y = Math.min(stage.clientHeight - keep, Math.max(keep - height * view.scale, view.y + dy));
  view.fitted = false;
  changed();
}

function changed() {
  if (pictures.wantWidth(state.project.size[1] * view.scale * devicePixelRatio)) {
    clearTimeout(resting);
    resting = setTimeout(sharpen, REST);
  }
  element("zoom-value").textContent = `${Math.round(100 * view.scale)} %`;
  draw();
  tell("view");
}

function resize() {
  if (!state.project || !stage.clientWidth) return;
  for (const one of stage.querySelectorAll("canvas")) {
    one.width = Math.round(stage.clientWidth * devicePixelRatio);
    one.height = Math.round(stage.clientHeight * devicePixelRatio);
  }
  if (view.fitted) fit();
  else changed();
}

new ResizeObserver(resize).observe(stage);
(function watchRatio() {
  matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => (resize(), watchRatio()), { once: true });
})();

export function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (state.project) paint();
  });
}

// Draw video pixels on a context from now on.
export function useView(target) {
  const ratio = devicePixelRatio;
  target.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
}

function paint() {
  const [height, width] = state.project.size;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  useView(context);
  if (frameBitmap) {
    context.imageSmoothingEnabled = view.scale * devicePixelRatio < 3;
    context.drawImage(frameBitmap, 0, 0, width, height);
  }
  context.imageSmoothingEnabled = true;
  const here = shown === state.frame;
  if (maskLayer && here && !state.hidden) context.drawImage(maskLayer, 0, 0, width, height);
  context.imageSmoothingEnabled = view.scale * devicePixelRatio < 3;
  if (strokeLayer && strokeFrame === shown) context.drawImage(strokeLayer, 0, 0, width, height);
  for (const stroke of echoes) if (stroke.frame === shown) drawLine(context, stroke);
  for (const stroke of waiting(shown)) drawLine(context, stroke);
  if (maskLayer && here && !state.hidden && state.outline) drawNumbers(width, height);
  placeAdvice();
}

// A stroke as a line: under way, or not yet acknowledged.
export function drawLine(target, { points, width, object }) {
  target.save();
  target.lineCap = target.lineJoin = "round";
  target.lineWidth = Math.max(1, Math.round(width));
  target.strokeStyle = object === 0 ? "rgb(255 255 255 / 0.6)" : cssColour(object);
  if (object === 0) target.setLineDash([target.lineWidth / 2, target.lineWidth]);
  target.beginPath();
  const [x, y] = points[0];
  target.moveTo(x + 0.5, y + 0.5);
  if (points.length === 1) target.lineTo(x + 0.501, y + 0.5);
  for (const [a, b] of points.slice(1)) target.lineTo(a + 0.5, b + 0.5);
  target.stroke();
  target.restore();
}

function drawNumbers(width, height) {
  const ratio = devicePixelRatio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { number, x, y } of maskPlaces) {
    if (objectOf(number)?.hidden) continue;
    const [left, top] = [view.x + x * width * view.scale, view.y + y * height * view.scale];
    const half = 6 + 4 * String(number).length;
    context.fillStyle = "rgb(0 0 0 / 0.75)";
    context.beginPath();
    context.roundRect(left - half, top - 9, 2 * half, 18, 9);
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = cssColour(number);
    context.stroke();
    context.fillStyle = "#fff";
    context.fillText(String(number), left, top + 0.5);
  }
}

function placeAdvice() {
  const advice = state.project.next;
  const flag = element("here");
  flag.hidden = !(advice?.place && advice.frame === state.frame);
  if (flag.hidden) return;
  const [left, top] = toStage(...advice.place);
  flag.style.transform = `translate(${left}px, ${top}px)`;
  flag.classList.toggle("right", left > stage.clientWidth - 140); // its text would not fit there
  flag.firstElementChild.textContent = `stroke ${advice.object} here`;
}

// Bring the picture up to date with the frame that is wanted. One is fetched at a time: where frames
// are wanted faster than they come, those between are left out.
async function showFrame() {
  if (!state.project) return;
  const now = pictures.frameNow(state.frame);
  if (now) return show(state.frame, now, false);
  if (loading) return;
  loading = true;
  try {
    for (let tried = ""; state.project && shown !== state.frame; ) {
      const [{ id }, wanted] = [state.project, state.frame];
      if (tried === `${id} ${wanted}`) break;
      tried = `${id} ${wanted}`;
      const { bitmap, draft } = await pictures.frameSoon(wanted);
      if (state.project?.id === id && shown !== state.frame) show(wanted, bitmap, draft);
    }
  } catch {
    // the server is away; asked again when it is back
  }
  loading = false;
}

function show(number, bitmap, draft, step = number < shown ? -1 : 1) {
  if (isDraft && bitmap !== frameBitmap) frameBitmap.close();
  [frameBitmap, isDraft] = [bitmap, draft];
  pictures.pin(bitmap);
  if (shown !== number) maskLayer = strokeLayer = null;
  shown = number;
  draw();
  if (number !== state.frame) return;
  showMask();
  showStrokes();
  tell("shown");
  if (draft) setTimeout(sharpen, REST, step);
  else pictures.readAhead(number, step);
}

let sharpening = false;

// Have the frame as wide as it is shown, in place of a draft or after zooming, once it is looked at.
async function sharpen(step = 1) {
  const wanted = state.frame;
  const { id } = state.project ?? {};
  if (sharpening || !frameBitmap || shown !== wanted || frameBitmap === pictures.frameNow(wanted)) return;
  sharpening = true;
  const bitmap = await pictures.frame(wanted).catch(() => null);
  sharpening = false;
  if (!bitmap || state.project?.id !== id || shown !== state.frame) return;
  if (wanted !== shown || bitmap !== pictures.frameNow(wanted)) return sharpen(step); // it is another one by now
  show(wanted, bitmap, false, step);
}

async function showMask() {
  const wanted = state.frame;
  const tag = pictures.tagOf(wanted);
  const found = await pictures.mask(wanted).catch(() => null);
  if (!state.project || wanted !== state.frame || tag !== pictures.tagOf(wanted)) return;
  if (!found) return;
  // it was told of and is gone already, as edits came: another one is under way
  if (!found.labels && maskLayer && state.standing.get(wanted) === "provisional") return;
  if (!found.labels) {
    maskLayer = null;
  } else {
    const shows = (label) => label !== BACKGROUND && !objectOf(label)?.hidden;
    maskLayer = pictures.coloured(found, { fill: state.opacity, outline: state.outline, shown: shows });
    maskPlaces = pictures.placesOf(found);
  }
  stage.dataset.mask = found.labels ? found.state : "none";
  draw();
}

async function showStrokes() {
  const wanted = state.frame;
  const revision = state.project.revision;
  const found = state.project.stroked[wanted] ? await pictures.strokeMap(wanted).catch(() => null) : { labels: null };
  if (!found || !state.project || wanted !== state.frame || revision !== state.project.revision) return;
  const shows = (label) => !objectOf(label)?.hidden;
  strokeLayer = found.labels ? pictures.coloured(found, { fill: 0.9, outline: true, shown: shows }) : null;
  strokeFrame = wanted;
  echoes = echoes.filter((one) => one.frame === wanted && one.revision > revision);
  stage.dataset.strokes = String(revision);
  draw();
}

on("frame", showFrame);
on("project", () => {
  element("hint").textContent = "";
  shown = strokeFrame = -1;
  frameBitmap = maskLayer = strokeLayer = null;
  isDraft = false;
  if (!state.project) return;
  view.fitted = true;
  requestAnimationFrame(() => (resize(), showFrame()));
});
on("mask", (number) => number === state.frame && shown === number && showMask());
on("objects style", () => state.project && (showMask(), showStrokes()));
on("acknowledged", (done) => done.op === "stroke" && done.objects && echoes.push(done));
on("strokes", () => state.project && showStrokes());
on("next view", draw);
on("server-hello", () => state.project && shown !== state.frame && showFrame());
