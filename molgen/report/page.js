"use strict";
(async () => {
  const { order, molecules, flags, relaxed } = JSON.parse(document.getElementById("data").textContent);
  const find = (selector) => [...document.querySelectorAll(selector)];
  const panel = document.getElementById("viewer");
  const message = document.getElementById("message");
  const relaxing = document.getElementById("relaxed");
  let current = order[0];
  let visualizer = null;

  const element = (name, text, kind = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = kind;
    return made;
  };

  const describe = (index) => {
    const { number, formula, smiles, reason, flags: passed, properties } = molecules[index];
    const title = element("h3", formula.replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]));
    title.append(element("small", `molecule ${number}`));
    const checks = element("p", "", "checks");
    flags.forEach((flag, k) => checks.append(element("span", flag, passed[k] ? "passed" : "missed")));
    const facts = document.createElement("dl");
    for (const [name, value] of properties) facts.append(element("dt", name), element("dd", value));
    const parts = [title];
    if (reason) parts.push(element("p", reason, "reason"));
    if (smiles) parts.push(element("code", smiles));
    document.getElementById("caption").replaceChildren(...parts, checks, facts);
  };

  const show = (index) => {
    current = index;
    describe(index);
    const [chosen] = find(`.drawing[href="#molecule-${index}"]`);
    find(".drawing[aria-current]").forEach((drawing) => drawing.removeAttribute("aria-current"));
    chosen.setAttribute("aria-current", "true");
    // the relaxed structures stand behind those that were drawn
    const position = order.indexOf(index) + (relaxing.getAttribute("aria-pressed") === "true" ? order.length : 0);
    if (visualizer) visualizer.select({ structure: position, environment: position, atom: 0 });
    else panel.replaceChildren(message, chosen.querySelector("svg").cloneNode(true));
  };

  const step = (by) => {
    const listed = find(".drawing:not([hidden])").map((drawing) => Number(drawing.hash.split("-")[1]));
    const next = listed.indexOf(current) + by;
    if (listed.length) location.replace(`#molecule-${listed[(next + listed.length) % listed.length]}`);
  };

  const narrow = (button) => {
    const { mark } = button.dataset;
    find("[data-mark]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    for (const drawing of find(".drawing")) drawing.hidden = mark && !drawing.dataset.marks.split(" ").includes(mark);
  };

  const toggle = (button) => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    visualizer?.structure.applySettings([{ [button.dataset.setting]: on }]);
  };

  const follow = () => {
    const index = location.hash.startsWith("#molecule-") ? Number(location.hash.split("-")[1]) : NaN;
    if (!(index in molecules)) return;
    show(index);
    document.querySelector(".drawing[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
    panel.scrollIntoView({ block: "nearest" });
  };

  // chemiscope's own buttons are for grids of viewers, which this page doesn't have
  const tidy = () => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`.chsp-viewer-action-button, .chsp-viewer-button { display: none !important }
      .chsp-structure-viewer-cell { border: 0 !important; padding: 0 !important }`);
    const restyle = (node) => {
      const shadow = node.shadowRoot;
      if (shadow) shadow.adoptedStyleSheets = [...shadow.adoptedStyleSheets, sheet];
      [...(shadow ?? node).children].forEach(restyle);
    };
    restyle(panel);
  };

  const load = async () => {
    // the panels for its table and its title are needed, and stay outside the page: ours say it in fewer words
    const hidden = { info: document.createElement("div"), meta: document.createElement("div") };
    const structures = order.map((index) => molecules[index].structure);
    if (relaxed) structures.push(...order.map((index) => relaxed[index]));
    const dataset = { meta: { name: document.title }, structures, properties: {} };
    visualizer = await Chemiscope.StructureVisualizer.load({ structure: panel, ...hidden }, dataset);
    message.remove();
    relaxing.hidden = !relaxed;
    tidy();
  };

  find("[data-step]").forEach((button) => button.addEventListener("click", () => step(Number(button.dataset.step))));
  find("[data-mark]").forEach((button) => button.addEventListener("click", () => narrow(button)));
  find("[data-setting]").forEach((button) => button.addEventListener("click", () => toggle(button)));
  relaxing.addEventListener("click", () => {
    relaxing.setAttribute("aria-pressed", String(relaxing.getAttribute("aria-pressed") !== "true"));
    show(current);
  });
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(event.key === "ArrowLeft" ? -1 : 1);
  });

  try {
    if (order.length) await load();
  } catch (error) {
    message.textContent = `No three-dimensional view here: ${error.message}. The drawings still work.`;
  }
  if (order.length) show(current);
  follow();
  document.documentElement.dataset.viewer = visualizer ? "ready" : "absent";
})();
