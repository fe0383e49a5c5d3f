/** The page: classifies the text field whenever it changes. Texts are inserted as text, never as markup. */

import { classify, listModels } from "./api.js";
import { commands, fits } from "./commands.js";
import { csv } from "./csv.js";

const PAUSE = 150; // ms without a keystroke before a request
const LEADING = 5; // number of probabilities shown
const TEXTS_PER_REQUEST = 64;
const ROWS_SHOWN = 500;
const MAX_COLOURED = 20_000; // maximum length of a text with coloured words, in UTF-16 units
const MAX_FILE_BYTES = 16 * 1024 * 1024; // bytes

const $ = (id) => document.getElementById(id);
const form = $("form");

let models = [];
let running = new AbortController(); // aborts the newest run; results of aborted runs are dropped
let timer;
let table = []; // results of the newest run over lines: {text, classification}

// ---- From the fields to the server

function changed() {
  clearTimeout(timer);
  timer = setTimeout(run, PAUSE);
}

async function run() {
  clearTimeout(timer);
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const model = models[$("model").value];
  const texts = form.elements.mode.value === "lines" ? lines($("text").value) : [$("text").value].filter(Boolean);
  if (!model) return; // an error is shown already
  if (!texts.length) {
    clear("Nothing to classify yet.");
    $("commands").hidden = true;
    return;
  }
  try {
    await (form.elements.mode.value === "lines" ? classifyMany : classifyOne)(model, texts, signal);
  } catch (error) {
    if (!signal.aborted) failed(error);
  }
}

async function classifyOne(model, [text], signal) {
  const request = { texts: [text], version: pinned(model), top_k: LEADING, ...abstention(model) };
  showCommands(model, request);
  const start = performance.now();
  const answer = await classify(model.name, request, { token: token(), signal });
  const milliseconds = performance.now() - start;
  if (signal.aborted) return;
  const [classification] = answer.classifications;
  clear(`${classification.label}, ${percent(classification.probability)}${abstained(classification)}`);
  $("facts").textContent = [facts(answer, milliseconds), known(classification)].join(" · ");
  $("scores").replaceChildren(...classification.scores.map(scoreItem));
  $("one").hidden = false;
  await explain(text, answer, signal);
}

/** Explains an answer that is already shown: explaining takes longer, and not every model supports it. */
async function explain(text, { model, version }, signal) {
  if (text.length > MAX_COLOURED) {
    unexplained(`Words are explained in texts of up to ${MAX_COLOURED.toLocaleString("en")} characters.`);
    return;
  }
  const request = { texts: [text], version, explain: true };
  try {
    const { classifications } = await classify(model, request, { token: token(), signal });
    if (!signal.aborted) showExplanation(text, classifications[0].explanation.words);
  } catch (error) {
    if (!signal.aborted) unexplained(error.message);
  }
}

async function classifyMany(model, texts, signal) {
  const asked = abstention(model);
  showCommands(model, { texts: texts.slice(0, TEXTS_PER_REQUEST), version: pinned(model), ...asked }, texts.length);
  const done = [];
  const start = performance.now();
  let answer;
  for (let first = 0; first < texts.length; first += TEXTS_PER_REQUEST) {
    const part = texts.slice(first, first + TEXTS_PER_REQUEST);
    // All parts by the version that answered the first one, so that the table has the answers of one version.
    const request = { texts: part, version: answer?.version ?? pinned(model), ...asked };
    answer = await classify(model.name, request, { token: token(), signal });
    if (signal.aborted) return;
    done.push(...answer.classifications.map((classification, number) => ({ text: part[number], classification })));
    $("facts").textContent = `${count(done.length, "text")} of ${texts.length.toLocaleString("en")}`;
  }
  const milliseconds = performance.now() - start;
  clear(`${count(done.length, "text")} classified`);
  $("facts").textContent = facts(answer, milliseconds);
  table = done;
  $("rows").replaceChildren(...done.slice(0, ROWS_SHOWN).map(row));
  $("shown").textContent = done.length > ROWS_SHOWN ? `Showing the first ${ROWS_SHOWN}; the file has all.` : "";
  $("many").hidden = false;
}

/** Lists the models, again whenever one may have been added or changed. */
async function loadModels() {
  let listed;
  try {
    listed = await listModels(token());
  } catch (error) {
    if (!models.length) failed(error); // otherwise the next answer reports the error
    return;
  }
  if (models.length && JSON.stringify(listed) === JSON.stringify(models)) return;
  const selected = models[$("model").value];
  models = listed;
  const options = models.map((model, number) => {
    const aside = model.in_service ? "" : " (not in service)";
    const option = element("option", `${model.name}, version ${model.version}${aside}`);
    option.value = number;
    return option;
  });
  $("model").replaceChildren(...options);
  if (models.length) {
    $("model").value = Math.max(models.findIndex((model) => follows(model, selected)), 0);
    describe();
    run();
  } else {
    failed(new Error("No model is available on this server."));
  }
}

/** Tells whether a model is the selected one: the version in service, whatever its number, or another version. */
const follows = (model, selected) =>
  model.name === selected?.name && (selected.in_service ? model.in_service : model.version === selected.version);

// ---- From the server's answers to the document

/** Removes the results of an earlier run. */
function clear(summary) {
  $("summary").textContent = summary;
  for (const id of ["error", "facts"]) $(id).textContent = "";
  for (const id of ["one", "many", "explained", "unexplained"]) $(id).hidden = true;
}

function failed(error) {
  running.abort(); // no answer may follow the error
  clear("");
  $("error").textContent = error.status ? `${error.status}: ${error.message}` : error.message;
  if (error.code === 401) $("token-row").hidden = false;
}

function describe() {
  const model = models[$("model").value];
  $("about").textContent =
    `${count(model.labels.length, "label")}, trained on ${model.trained_on}, ` +
    `test accuracy ${percent(model.test_accuracy)}${shadow(model)}`;
  $("thresholds-row").hidden = !model.thresholds.length;
  $("thresholds-about").textContent = `for a precision of ${percent(model.target_precision)}`;
}

function scoreItem({ label, probability }) {
  const bar = element("span", "", "bar");
  bar.style.setProperty("--share", probability);
  const item = document.createElement("li");
  item.append(element("span", label, "label"), bar, element("span", percent(probability), "number"));
  return item;
}

function showExplanation(text, words) {
  const characters = Array.from(text); // the server counts code points
  const most = Math.max(...words.map((word) => Math.abs(word.contribution)), Number.MIN_VALUE);
  const parts = [];
  let end = 0;
  for (const word of words) {
    const mark = element("span", characters.slice(word.start, word.end).join(""), "word");
    mark.classList.add(word.contribution < 0 ? "against" : "for");
    mark.classList.toggle("unknown", !word.known);
    mark.style.setProperty("--strength", Math.abs(word.contribution) / most);
    mark.title = `${signed(word.contribution)}${word.known ? "" : ", unknown to the model"}`;
    parts.push(characters.slice(end, word.start).join(""), mark);
    end = word.end;
  }
  $("words").replaceChildren(...parts, characters.slice(end).join(""));
  $("reasons").replaceChildren(...reasons(words).map((reason) => element("li", reason)));
  $("explained").hidden = false;
}

/** Describes the colours in words. */
function reasons(words) {
  const sums = new Map();
  for (const { word, contribution } of words) sums.set(word, (sums.get(word) ?? 0) + contribution);
  const ranked = [...sums].sort(([, one], [, other]) => other - one);
  const list = (pairs) => pairs.slice(0, 5).map(([word, sum]) => `${word} ${signed(sum)}`).join(", ") || "none";
  const unknown = [...new Set(words.filter((word) => !word.known).map(({ word }) => word))];
  const more = unknown.length > 10 ? `, and ${unknown.length - 10} more` : "";
  return [
    `Most for it: ${list(ranked.filter(([, sum]) => sum > 0))}.`,
    `Most against it: ${list(ranked.filter(([, sum]) => sum < 0).reverse())}.`,
    ...(unknown.length ? [`Unknown: ${unknown.slice(0, 10).join(", ")}${more}.`] : []),
  ];
}

function unexplained(message) {
  $("unexplained").textContent = message;
  $("unexplained").hidden = false;
}

function row({ text, classification }) {
  const { label, probability, words, known_words: knownWords } = classification;
  const cells = document.createElement("tr");
  cells.append(
    element("td", text.length > 300 ? `${text.slice(0, 300)}…` : text),
    element("td", `${label}${abstained(classification)}`),
    element("td", percent(probability), "number"),
    element("td", `${knownWords}/${words}`, "number"),
  );
  return cells;
}

function showCommands(model, request, texts = request.texts.length) {
  const server = {
    url: new URL(document.baseURI),
    grpcPort: document.documentElement.dataset.grpcPort,
    withToken: Boolean(token()),
  };
  const short = fits(request);
  const written = short ? commands(server, model.name, request) : {};
  for (const [id, command] of Object.entries(written)) $(id).textContent = command;
  for (const command of document.querySelectorAll(".command")) command.hidden = !short;
  $("commands-note").textContent = !short
    ? "The input is too long for a command line."
    : texts > request.texts.length ? `With the first ${request.texts.length} of ${count(texts, "text")}.` : "";
  $("copied").textContent = "";
  $("commands").hidden = false;
}

// ---- Files and the clipboard

async function open(file) {
  try {
    if (file.size > MAX_FILE_BYTES) throw new Error(`${file.name} is larger than 16 MiB: use the command line.`);
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    $("text").value = text;
    run();
  } catch (error) {
    failed(error instanceof TypeError ? new Error(`${file.name} is not a text file in UTF-8.`) : error);
  }
}

function download() {
  const columns = ["label", "probability", "words", "known_words", "abstained"];
  const rows = table.map(({ text, classification }) => [text, ...columns.map((name) => classification[name])]);
  const content = csv([["text", ...columns], ...rows]);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  link.download = "classified.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copy(id) {
  try {
    await navigator.clipboard.writeText($(id).textContent);
    $("copied").textContent = `The ${id} command is copied.`;
  } catch { // without HTTPS, pages of other hosts have no clipboard
    getSelection().selectAllChildren($(id));
    $("copied").textContent = `The ${id} command is selected: copy it with your keyboard.`;
  }
}

// ---- Helpers

/** Returns the fields of a request for abstention. */
const abstention = (model) => ({
  min_probability: $("min-probability").valueAsNumber || undefined,
  use_thresholds: (model.thresholds.length && $("thresholds").checked) || undefined,
});
const abstained = (classification) => (classification.abstained ? ", abstained" : "");
/** Returns how often a shadow version agrees with the version in service. */
const shadow = ({ shadow: compared }) => {
  if (!compared) return "";
  const { texts, agreements } = compared;
  return texts ? `, shadow: agrees on ${percent(agreements / texts)} of ${count(texts, "text")}` : ", shadow: no text yet";
};
const token = () => $("token").value;
/** Returns the version to request: none for the version in service, which may be replaced. */
const pinned = (model) => (model.in_service ? undefined : model.version);
const lines = (text) => text.split(/\r\n|\n|\r/).filter((line) => line.trim());
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const known = ({ words, known_words: knownWords }) => `${knownWords} of ${count(words, "word")} known`;
const facts = ({ model, version }, milliseconds) => `${model}, version ${version} · ${milliseconds.toFixed(0)} ms`;

function element(name, text, className = "") {
  const created = document.createElement(name);
  created.textContent = text;
  created.className = className;
  return created;
}

// ---- Events

form.addEventListener("submit", (event) => event.preventDefault());
$("text").addEventListener("input", changed);
$("token").addEventListener("change", async () => {
  await loadModels();
  run(); // for models that were loaded already, too
});
$("model").addEventListener("focus", loadModels);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) loadModels();
});
$("model").addEventListener("change", () => {
  describe();
  run();
});
for (const choice of form.elements.mode) choice.addEventListener("change", run);
for (const id of ["min-probability", "thresholds"]) $(id).addEventListener("change", run);
$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // so that choosing the same file again is a change
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (!file) return; // dropped text is handled by the browser
  event.preventDefault();
  open(file);
});
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(button.dataset.copies));
}
$("download").addEventListener("click", download);

loadModels();
