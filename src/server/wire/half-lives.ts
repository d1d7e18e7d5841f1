import type { HalfLives } from '../../engine/request/half-lives.ts';
import type { OutputToken } from '../../engine/request/request-output.ts';

/** Half-lives for each layer with a state and each head, in tokens, to four digits; null where nothing is lost. */
export type HalfLivesField = readonly (readonly (number | null)[])[];

/** Field `half_lives` of a choice; absent without a report. */
export function halfLivesField(latest: HalfLives | undefined): { readonly half_lives?: HalfLivesField } {
  return latest ? { half_lives: written(latest) } : {};
}

/** The latest report among tokens. */
export function latestHalfLives(tokens: readonly OutputToken[]): HalfLives | undefined {
  return tokens.findLast(({ halfLives }) => halfLives)?.halfLives;
}

function written(halfLives: HalfLives): HalfLivesField {
  return halfLives.map((layer) =>
    Array.from(layer, (value) => (Number.isFinite(value) ? Number(value.toPrecision(4)) : null)),
  );
}
