import type { HalfLives } from '../../engine/half-lives.ts';
import type { OutputToken } from '../../engine/request-output.ts';

/** Per layer with a state and head, in tokens, to four digits; null where nothing is lost. */
export type HalfLivesField = readonly (readonly (number | null)[])[];

/** `half_lives` of a choice: the latest report among its tokens, if there is one. */
export function halfLivesField(tokens: readonly OutputToken[]): { readonly half_lives?: HalfLivesField } {
  const latest = tokens.findLast(({ halfLives }) => halfLives)?.halfLives;
  return latest ? { half_lives: written(latest) } : {};
}

function written(halfLives: HalfLives): HalfLivesField {
  return halfLives.map((layer) =>
    Array.from(layer, (value) => (Number.isFinite(value) ? Number(value.toPrecision(4)) : null)),
  );
}
