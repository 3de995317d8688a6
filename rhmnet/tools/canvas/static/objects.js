// The left side: objects to draw on, their names, eyes and locks, and the background.

import { state, on, tell, element, say, cssColour, icon, objectOf, mayEdit, keep, BACKGROUND } from "./state.js";
import { edit, post, attempt } from "./api.js";

const list = element("objects");

export function select(number) {
  if (!objectOf(number)) return say(`There is no object ${number}; A adds one.`);
  state.object = number;
  if (state.tool === "eraser") state.tool = "brush";
  show();
  tell("tool");
}

export function addObject() {
  if (state.project.objects[0].virtual) edit({ op: "add_object" }); // the one that is there to begin with
  edit({ op: "add_object" });
}

function button(label, content, pressed, call) {
  const one = document.createElement("button");
  one.type = "button";
  one.append(content);
  one.setAttribute("aria-label", label);
  one.title = label;
  if (pressed !== null) one.setAttribute("aria-pressed", String(pressed));
  one.addEventListener("click", call);
  one.disabled = !mayEdit();
  return one;
}

function change(object, values) {
  const { number, locked, hidden } = { ...object, ...values };
  attempt(post("/api/objects", { number, locked, hidden }));
}

function row(object) {
  const { number, name, locked, hidden } = object;
  const line = document.createElement("li");
  line.dataset.number = number;
  const choose = button(`Draw on ${name}`, number === BACKGROUND ? "0" : String(number), number === state.object, () => select(number));
  choose.className = "choose";
  choose.disabled = false;
  choose.style.setProperty("--colour", cssColour(number));
  line.append(choose);
  if (number === BACKGROUND) {
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = name;
    label.addEventListener("click", () => select(number));
    line.append(label);
  } else {
    const field = document.createElement("input");
    field.className = "name";
    field.value = field.defaultValue = field.title = name;
    field.maxLength = 80;
    field.readOnly = !mayEdit();
    field.setAttribute("aria-label", `Name of object ${number}`);
    field.addEventListener("focus", () => select(number));
    field.addEventListener("keydown", (event) => event.key === "Enter" && element("stage").focus());
    field.addEventListener("change", () => {
      const wanted = field.value.trim();
      if (!wanted || wanted === name) return void (field.value = name);
      if (object.virtual) edit({ op: "add_object" });
      edit({ op: "rename_object", number, name: wanted });
    });
    line.append(field);
  }
  line.append(
    button(`${hidden ? "Show" : "Hide"} ${name}`, icon(hidden ? "eye-off" : "eye"), hidden, () => change(object, { hidden: !hidden })),
    button(`${locked ? "Unlock" : "Lock"} ${name}`, icon(locked ? "lock" : "unlock"), locked, () => change(object, { locked: !locked })),
  );
  if (number !== BACKGROUND) {
    const remove = button(`Delete ${name}`, icon("cross"), null, () => confirmDelete(object));
    remove.disabled ||= locked || object.virtual;
    line.append(remove);
  }
  return line;
}

function confirmDelete({ number, name }) {
  const frames = Object.values(state.project.stroked).filter((numbers) => numbers.includes(number)).length;
  if (!frames) return edit({ op: "delete_object", number });
  const dialog = element("confirm");
  element("confirm-text").textContent = `Delete ${name} with its strokes on ${frames} ${frames === 1 ? "frame" : "frames"}? Undo brings it back.`;
  dialog.returnValue = "no";
  dialog.onclose = () => dialog.returnValue === "yes" && edit({ op: "delete_object", number });
  dialog.showModal();
}

let drawn = "";

// Bring the list up to date. It is built anew only where objects differ: a name may be half typed.
function show() {
  if (!state.project) return;
  const now = JSON.stringify([state.project.objects, mayEdit(), state.project.id]);
  if (now !== drawn) build();
  drawn = now;
  for (const line of list.children) {
    line.firstElementChild.setAttribute("aria-pressed", String(Number(line.dataset.number) === state.object));
  }
}

function build() {
  const before = document.activeElement;
  const number = before?.closest?.("#objects li")?.dataset.number;
  const at = number && [...before.parentElement.children].indexOf(before);
  list.replaceChildren(...state.project.objects.map(row));
  element("add-object").disabled = !mayEdit();
  const after = number && list.querySelector(`li[data-number="${number}"]`)?.children[at];
  if (!after) return;
  after.focus();
  if (!before.matches("input") || before.value === before.defaultValue) return;
  after.value = before.value;
  after.setSelectionRange(before.selectionStart, before.selectionEnd);
}

element("add-object").addEventListener("click", addObject);
on("acknowledged", (done) => {
  if (!done.added) return;
  state.project.objects = done.objects;
  tell("objects");
  select(done.added);
});
on("project", () => state.project && keep());
on("project objects editor", show);
on("tool", show);
