/** List whose elements are made when they are written, because all together may not fit in memory. */
export class JsonList<T> {
  /** Starts a new pass over the elements. */
  readonly elements: () => Iterable<T>;

  constructor(elements: () => Iterable<T>) {
    this.elements = elements;
  }
}

/** An answer's type, with a {@link JsonList} allowed in place of any list. */
export type Written<T> = T extends readonly (infer Element)[]
  ? readonly Written<Element>[] | JsonList<Written<Element>>
  : T extends object
    ? { readonly [Name in keyof T]: Written<T[Name]> }
    : T;

/** Time after which a part ends, unless it is very short: elements such as a token's logprobs may be expensive. */
const MOST_MILLISECONDS = 5;
const FEWEST_CHARACTERS = 1024;

/**
 * JSON of plain values and {@link JsonList}s, in parts of about `size` characters, or of some milliseconds' work.
 */
export function* jsonPieces(value: unknown, size: number): Generator<string, void> {
  let piece = '';
  let begin = performance.now();
  for (const part of parts(value)) {
    piece += part;
    if (piece.length < FEWEST_CHARACTERS) continue;
    if (piece.length < size && performance.now() - begin < MOST_MILLISECONDS) continue;
    yield piece;
    piece = '';
    begin = performance.now();
  }
  yield piece;
}

function* parts(value: unknown): Generator<string, void> {
  if (value instanceof JsonList) {
    yield* listParts(value.elements());
  } else if (Array.isArray(value) && value.some((element) => typeof element === 'object')) {
    yield* listParts(value);
  } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    let separator = '{';
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${separator}${JSON.stringify(name)}:`;
      yield* parts(member);
      separator = ',';
    }
    yield separator === '{' ? '{}' : '}';
  } else {
    yield JSON.stringify(value);
  }
}

function* listParts(elements: Iterable<unknown>): Generator<string, void> {
  let separator = '[';
  for (const element of elements) {
    yield separator;
    yield* parts(element);
    separator = ',';
  }
  yield separator === '[' ? '[]' : ']';
}
