// Makes elements. Texts are only ever set as text, never as markup.

/**
 * An element with these attributes and children. A value of true or false adds or leaves out the
 * attribute; a function is the listener of the event with that name.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function button(text, action, attributes = {}) {
  return element("button", { type: "button", click: action, ...attributes }, text);
}

/** A labelled field. */
export function field(label, control) {
  return element("label", {}, `${label} `, control);
}

/** A list of choices: texts, or pairs of value and text. */
export function choice(name, values, chosen, attributes = {}) {
  const options = values.map((each) => {
    const [value, text] = Array.isArray(each) ? each : [each, each];
    return element("option", { value, selected: value === chosen }, text);
  });
  return element("select", { name, ...attributes }, ...options);
}

/** Says it to people who do not see the page. */
export function announce(text) {
  byId("announcements").textContent = text;
}
