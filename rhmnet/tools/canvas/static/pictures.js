// Frames, masks and strokes as pictures: fetched by number, decoded once, the latest kept.

import { state, on, tell } from "./state.js";
import { request } from "./api.js";

const MOST_PIXELS = 40e6; // of decoded frames, 4 bytes each
const MOST_MASKS = 24;
const WIDTHS = [320, 480, 640, 960, 1280, 1920, 2560, 3840];

// A cache of promises, the latest used last; `cost` of each is known when it is there.
class Kept {
  constructor(most, forget = () => {}) {
    this.most = most;
    this.forget = forget;
    this.entries = new Map();
    this.sum = 0;
    this.pinned = null; // a value that stays whatever comes
  }

  get(key, make, cost) {
    let entry = this.entries.get(key);
    if (entry) {
      this.entries.delete(key);
      this.entries.set(key, entry);
      return entry.promise;
    }
    entry = { promise: make(), cost: 0, value: null };
    this.entries.set(key, entry);
    entry.promise.then(
      (value) => {
        if (this.entries.get(key) !== entry) return; // all was forgotten meanwhile
        entry.value = value;
        entry.cost = cost(value);
        this.sum += entry.cost;
        for (const [old, one] of this.entries) {
          if (this.sum <= this.most || one === entry) break;
          if (one.value === null || one.value === this.pinned) continue;
          this.entries.delete(old);
          this.sum -= one.cost;
          this.forget(one.value);
        }
      },
      () => this.entries.get(key) === entry && this.entries.delete(key),
    );
    return entry.promise;
  }

  now(key) {
    return this.entries.get(key)?.value ?? null;
  }

  clear() {
    for (const one of this.entries.values()) if (one.value) this.forget(one.value);
    this.entries.clear();
    this.sum = 0;
  }
}

const frames = new Kept(MOST_PIXELS, (bitmap) => bitmap.close?.());
const masks = new Kept(MOST_MASKS);
const strokes = new Kept(MOST_MASKS);
let width = 640; // that frames are asked for

// Ask for frames of at least so many pixels' width from now on; whether that is another one.
export function wantWidth(pixels) {
  const own = state.project.size[1];
  const wanted = WIDTHS.find((one) => one >= pixels) ?? own;
  const next = wanted >= own ? own : wanted;
  const changes = next > width || next < width / 2;
  if (changes) width = next;
  return changes;
}

const query = (values) => new URLSearchParams(values).toString();
const shrunk = () => (width < state.project.size[1] ? { w: width } : {});

async function bitmapOf(answer) {
  return createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

const keyOf = (number) => `${number}/${width}`;
const area = (bitmap) => bitmap.width * bitmap.height;

export function frame(number) {
  return frames.get(keyOf(number), async () => bitmapOf(await request(`/api/frames/${number}?${query(shrunk())}`)), area);
}

export const frameNow = (number) => frames.now(keyOf(number));

// A frame at once: where it takes the server long to reach, a draft, {bitmap, draft}.
export async function frameSoon(number) {
  const [key, pause] = [keyOf(number), new Promise((done) => setTimeout(done, 100))];
  if (frames.entries.has(key)) await Promise.race([frame(number), pause]); // asked for, and it may be just here
  const now = frames.now(key);
  if (now) return { bitmap: now, draft: false };
  const answer = await request(`/api/frames/${number}?${query({ ...shrunk(), soon: 1 })}`);
  const bitmap = await bitmapOf(answer);
  if (answer.headers.has("X-Draft")) return { bitmap, draft: true };
  return { bitmap: await frames.get(key, async () => bitmap, area), draft: false };
}

// What is shown is not forgotten, however large it is.
export const pin = (bitmap) => (frames.pinned = bitmap);

let ahead = null; // {number, step}: the frame from which to read ahead
let reading = false;

// Fetch the frames that are likely to be looked at next, one after the other: the server decodes in order.
export async function readAhead(number, step) {
  ahead = { number, step };
  if (reading) return;
  reading = true;
  try {
    for (let next = wantedNext(); next !== undefined; next = wantedNext()) await frame(next);
  } catch {
    // the server is away; what is looked at is asked for again when it is back
  }
  reading = false;
}

function wantedNext() {
  if (!state.project) return undefined;
  const room = Math.floor(MOST_PIXELS / 2 / area(frames.pinned ?? { width, height: width }));
  const { number, step } = ahead;
  const wanted = [1, 2, 3, 4].slice(0, Math.max(1, room)).map((i) => number + i * step);
  return wanted.find((one) => one >= 0 && one < state.project.frames && !frames.entries.has(keyOf(one)));
}

export const tagOf = (number) => state.tags.get(number) ?? state.project.default_tag;

// The labels of a frame's mask: {labels: Uint8Array, width, height, state}, or null for none yet.
export function mask(number) {
  const tag = tagOf(number);
  return masks.get(`${number}/${tag}/${width}`, () => labelsOf(`/api/masks/${number}?${query({ rev: tag, form: "runs", ...shrunk() })}`), () => 1);
}

// The labels of a frame's strokes, 255 the background.
export function strokeMap(number) {
  const rev = state.project.revision;
  return strokes.get(`${number}/${rev}`, () => labelsOf(`/api/strokes/${number}?${query({ rev, form: "runs" })}`), () => 1);
}

// A label map comes as runs, pixels of one label: where each ends, then the label of each.
async function labelsOf(path) {
  const answer = await request(path);
  if (answer.status === 204) return { labels: null };
  const [wide, height] = answer.headers.get("X-Size").split(" ").map(Number);
  const data = await answer.arrayBuffer();
  const ends = new Uint32Array(data, 0, data.byteLength / 5);
  const of = new Uint8Array(data, ends.byteLength);
  const labels = new Uint8Array(wide * height);
  for (let i = 0, begin = 0; i < ends.length; begin = ends[i], i += 1) {
    if (of[i]) labels.fill(of[i], begin, ends[i]);
  }
  return { labels, width: wide, height, state: answer.headers.get("X-State") };
}

// A canvas of labels in colours. fill: opacity, 0 to 1; outline: draw where a label ends;
// shown: which labels.
export function coloured({ labels, width, height }, { fill, outline, shown }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const out = new Uint32Array(picture.data.buffer);
  const inside = new Uint32Array(256);
  const edge = new Uint32Array(256);
  for (let label = 1; label < 256; label += 1) {
    if (!shown(label)) continue;
    const [r, g, b] = state.colours[label];
    const colour = b << 16 | g << 8 | r;
    inside[label] = (Math.round(255 * fill) << 24 | colour) >>> 0;
    edge[label] = (255 << 24 | colour) >>> 0;
  }
  const wide = outline ? Math.max(1, Math.round(width / 900)) : 0;
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 1) {
      const label = labels[i];
      if (!label) continue;
      const ends =
        wide &&
        ((x >= wide && labels[i - wide] !== label) || (x + wide < width && labels[i + wide] !== label) ||
          (y >= wide && labels[i - wide * width] !== label) || (y + wide < height && labels[i + wide * width] !== label));
      out[i] = ends ? edge[label] : inside[label];
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

// A place inside each object for its number: [{number, x, y}] as shares of the width and height.
export function placesOf({ labels, width, height }) {
  const step = Math.max(1, Math.round(width / 160));
  const sums = new Map();
  for (let y = step >> 1; y < height; y += step) {
    for (let x = step >> 1; x < width; x += step) {
      const label = labels[y * width + x];
      if (!label) continue;
      if (!sums.has(label)) sums.set(label, []);
      sums.get(label).push([x, y]);
    }
  }
  return [...sums].map(([number, cells]) => {
    const mean = [0, 1].map((axis) => cells.reduce((sum, cell) => sum + cell[axis], 0) / cells.length);
    const far = (cell) => (cell[0] - mean[0]) ** 2 + (cell[1] - mean[1]) ** 2;
    const [x, y] = cells.reduce((best, cell) => (far(cell) < far(best) ? cell : best));
    return { number, x: (x + 0.5) / width, y: (y + 0.5) / height };
  });
}

on("server-frame server-preview", ({ frame: number, rev, doubt, state: standing }) => {
  state.tags.set(number, rev);
  state.standing.set(number, standing);
  if (doubt) state.doubt.set(number, doubt);
  tell("mask", number);
});

on("project", () => {
  frames.clear();
  masks.clear();
  strokes.clear();
  frames.pinned = null;
});
