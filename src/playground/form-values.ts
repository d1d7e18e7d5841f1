/** A control of a form, by its name. */
export function control(form: HTMLFormElement, name: string): HTMLInputElement | HTMLSelectElement {
  const found = form.elements.namedItem(name);
  if (found instanceof HTMLInputElement || found instanceof HTMLSelectElement) return found;
  throw new Error(`The form has no field '${name}'.`);
}

/** The field's number; undefined if it is empty or outside the field's range. */
export function numberIn(form: HTMLFormElement, name: string): number | undefined {
  const { value, validity } = control(form, name);
  return value === '' || !validity.valid ? undefined : Number(value);
}
