import { joinBytes } from '../util/join-bytes.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The text of UTF-8, with U+FFFD in place of invalid bytes. A byte order mark is a character like others. */
export function utf8Text(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/**
 * Decodes UTF-8 that comes in pieces: a character whose bytes are spread over several pieces comes with the last of
 * them. The results, joined, are the text of all bytes.
 */
export class Utf8Stream {
  /** The bytes of a character that is incomplete: at most three. */
  #pending: Uint8Array = EMPTY;

  /** The text that these bytes make certain. */
  push(bytes: Uint8Array): string {
    const all = this.#with(bytes);
    const end = completeLength(all);
    this.#pending = end === all.length ? EMPTY : all.slice(end);
    return utf8Text(end === all.length ? all : all.subarray(0, end));
  }

  /** Returns what `push` would return, and changes nothing. */
  peek(bytes: Uint8Array): string {
    const all = this.#with(bytes);
    const end = completeLength(all);
    return utf8Text(end === all.length ? all : all.subarray(0, end));
  }

  /** Whether a character is incomplete. */
  get isInsideCharacter(): boolean {
    return this.#pending.length > 0;
  }

  /** The replacement for an incomplete character, when no more bytes follow. */
  flush(): string {
    const text = utf8Text(this.#pending);
    this.#pending = EMPTY;
    return text;
  }

  #with(bytes: Uint8Array): Uint8Array {
    return this.#pending.length === 0 ? bytes : joinBytes([this.#pending, bytes]);
  }
}

const EMPTY = new Uint8Array();

/** The number of bytes before an incomplete character at the end. */
function completeLength(bytes: Uint8Array): number {
  const { length } = bytes;
  for (let back = 1; back <= Math.min(3, length); back++) {
    const byte = bytes[length - back];
    // A byte that continues a character: its start is further to the front.
    if (byte >= 0x80 && byte < 0xc0) continue;
    const wanted = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf8 ? 4 : 1;
    return wanted > back ? length - back : length;
  }
  return length;
}
