/** What the name of a part says: `stem-00001-of-00003.gguf`. */
export interface SplitPart {
  readonly stem: string;
  /** From 0 on; names count from 1 on. */
  readonly index: number;
  readonly count: number;
}

/** What a name says; undefined where it is not that of a part. */
export function splitPart(file: string): SplitPart | undefined {
  const [, stem, no, count] = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i.exec(file) ?? [];
  if (stem === undefined || Number(no) < 1 || Number(no) > Number(count)) return undefined;
  return { stem, index: Number(no) - 1, count: Number(count) };
}

/** Name of a part. */
export function splitName(stem: string, index: number, count: number): string {
  const five = (value: number) => String(value).padStart(5, '0');
  return `${stem}-${five(index + 1)}-of-${five(count)}.gguf`;
}
