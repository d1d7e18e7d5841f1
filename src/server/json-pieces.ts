/** A list in an answer whose elements are made when they are written: it may be far longer than what fits in memory. */
export class JsonList<T> {
  /** A new pass over the elements. */
  readonly elements: () => Iterable<T>;

  constructor(elements: () => Iterable<T>) {
    this.elements = elements;
  }
}

/** A form of answer any of whose lists may be a {@link JsonList}. */
export type Written<T> = T extends readonly (infer Element)[]
  ? readonly Written<Element>[] | JsonList<Element>
  : T extends object
    ? { readonly [Name in keyof T]: Written<T[Name]> }
    : T;

/** The JSON of plain values and {@link JsonList}s, in pieces of about `size` characters. */
export function* jsonPieces(value: unknown, size: number): Generator<string, void> {
  let piece = '';
  for (const part of parts(value)) {
    piece += part;
    if (piece.length < size) continue;
    yield piece;
    piece = '';
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
