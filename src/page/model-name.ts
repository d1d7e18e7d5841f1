import { byId } from './element.ts';

/** Short name of a model: the last part of its path, URL or hub id. */
export function shortModelName(name: string): string {
  const parts = name.split(/[\\/]/).filter((part) => part !== '' && part !== '.' && part !== '..');
  return parts.at(-1) ?? name;
}

/** Shows the model's name in the bar and in the tab, and its whole path when the reader points at it. */
export function showModelName(name: string): void {
  const place = byId('model-name', HTMLElement);
  place.textContent = shortModelName(name);
  place.title = name;
  document.title = `${shortModelName(name)} – mamba2`;
}
