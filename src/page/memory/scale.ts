/** The scale of half-lives is logarithmic, from 1 to 10 000 tokens; values outside get the colour of the nearer end. */
export const SCALE_MAX = 10_000;
const DECADES = Math.log10(SCALE_MAX);

/** Viridis: steps of even brightness that colour-blind readers can also distinguish. */
const STOPS = ['#440154', '#482878', '#3e4a89', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725']; // biome-ignore format: one ramp

type Rgb = readonly [number, number, number];
const RAMP: readonly Rgb[] = STOPS.map(
  (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as unknown as Rgb,
);

/** The position of a half-life on the scale: 0 to 1. */
export function scalePosition(halfLife: number): number {
  return Math.min(1, Math.max(0, Math.log10(halfLife) / DECADES));
}

/** A colour of the scale, in CSS notation. */
export function scaleColor(position: number): string {
  const at = Math.min(1, Math.max(0, position)) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  const mixed = RAMP[low].map((from, i) => Math.round(from + (RAMP[low + 1][i] - from) * (at - low)));
  return `rgb(${mixed.join(' ')})`;
}

/** A number of tokens in words. */
export function tokensInWords(count: number): string {
  if (count === Number.POSITIVE_INFINITY) return 'infinitely many tokens';
  const rounded = count < 10 ? Number(count.toPrecision(2)) : Number(count.toPrecision(3));
  return `${rounded.toLocaleString('en')} ${rounded === 1 ? 'token' : 'tokens'}`;
}
