import { describeJson, getOwn, isJsonObject, type JsonObject, type JsonValue } from '../checkpoint/json/json.ts';
import { TokenizerError } from '../errors.ts';
import { joinBytes } from '../util/join-bytes.ts';
import { BYTES_OF_CHARACTERS } from './byte-alphabet.ts';
import { libraryDecoder } from './library-tokenizer.ts';
import { utf8Text } from './utf8-stream.ts';

/** The position of a token, as far as its bytes depend on it. */
export interface TextPlace {
  /** Whether no token comes before it. */
  readonly isFirst: boolean;
  /** Number of characters that may yet be stripped from the text's beginning. */
  readonly strips: number;
  /** Bytes of earlier tokens that belong to the text only if another token follows. */
  readonly held: Uint8Array;
}

/** A token's bytes, and the place after it. */
export interface PlacedToken {
  readonly bytes: Uint8Array;
  readonly next: TextPlace;
}

/** A token on its way to bytes. */
type TokenForm = string | Uint8Array;

/** Transforms one token, at the beginning of a text or after others, for the next change. */
type Change = (form: TokenForm, isFirst: boolean) => TokenForm;

const NOTHING = new Uint8Array();
const encoder = new TextEncoder();

/**
 * A tokenizer.json's `decoder` as a function of single tokens: which bytes a token adds to a text, by its place. A text
 * is the bytes of its tokens, one after the other, read as UTF-8; so that single tokens, streams and whole texts agree.
 * https://huggingface.co/docs/tokenizers/api/decoders
 */
export class TokenDecoder {
  readonly #changes: readonly Change[];
  readonly #stripStart: Strip;
  readonly #stripEnd: Strip;
  /** The end of a token that is a space unless the text ends there. */
  readonly #suffix: Uint8Array;
  readonly #cache = new Map<string, { readonly first: Uint8Array; readonly later: PlacedToken }>();
  /** The position of most tokens. */
  readonly #inside: TextPlace = { isFirst: false, strips: 0, held: NOTHING };

  /**
   * @param json the value of `decoder`; null joins tokens with spaces
   * @param isAdded whether a token is plain text, and not in the vocabulary's own alphabet
   * @throws TokenizerError for a decoder that is malformed or unknown
   */
  constructor(json: JsonValue | undefined, isAdded: (token: string) => boolean) {
    const all = new DecoderChanges(isAdded);
    if (json === undefined || json === null) all.list.push((form, isFirst) => (isFirst ? form : ` ${text(form)}`));
    else all.add(json);
    this.#changes = all.list;
    this.#stripStart = all.stripStart;
    this.#stripEnd = all.stripEnd;
    this.#suffix = encoder.encode(all.suffix);
  }

  /** The position at the beginning of a text. */
  begin(): TextPlace {
    return { isFirst: true, strips: this.#stripStart.count, held: NOTHING };
  }

  /** A position after other tokens where nothing is held back. */
  get inside(): TextPlace {
    return this.#inside;
  }

  /** The bytes that a token adds at a position. */
  decode(token: string, place: TextPlace): PlacedToken {
    const known = this.#known(token);
    if (place === this.#inside) return known.later;
    return this.#placed(place.isFirst ? known.first : this.#bytesOf(token, false), place);
  }

  #placed(own: Uint8Array, place: TextPlace): PlacedToken {
    const { bytes, strips } = stripped(own, this.#stripStart.content, place.strips);
    const whole = joinBytes([place.held, bytes]);
    const cut = this.#heldFrom(whole);
    const isInside = strips === 0 && cut.held.length === 0;
    const next = isInside ? this.#inside : { isFirst: false, strips, held: cut.held };
    return { bytes: whole.subarray(0, cut.shown), next };
  }

  /** The bytes that are certain, and those that belong to the text only if another token follows. */
  #heldFrom(bytes: Uint8Array): { readonly shown: number; readonly held: Uint8Array } {
    if (this.#suffix.length > 0 && endsWith(bytes, bytes.length, this.#suffix)) {
      return { shown: bytes.length - this.#suffix.length, held: encoder.encode(' ') };
    }
    const { content, count } = this.#stripEnd;
    let shown = bytes.length;
    for (let i = 0; i < count && endsWith(bytes, shown, content); i++) shown -= content.length;
    return { shown, held: shown === bytes.length ? NOTHING : bytes.slice(shown) };
  }

  #known(token: string): { readonly first: Uint8Array; readonly later: PlacedToken } {
    const known = this.#cache.get(token);
    if (known) return known;
    const later = this.#placed(this.#bytesOf(token, false), this.#inside);
    const made = { first: this.#bytesOf(token, true), later };
    this.#cache.set(token, made);
    return made;
  }

  #bytesOf(token: string, isFirst: boolean): Uint8Array {
    return bytesOfForm(this.#changes.reduce<TokenForm>((form, change) => change(form, isFirst), token));
  }
}

/** A character, and how many of it a text loses at one end. */
interface Strip {
  readonly content: Uint8Array;
  readonly count: number;
}

/** Collects the changes of a decoder and of the decoders inside it. */
class DecoderChanges {
  readonly list: Change[] = [];
  stripStart: Strip = { content: NOTHING, count: 0 };
  stripEnd: Strip = { content: NOTHING, count: 0 };
  suffix = '';
  /** Whether the tokens were joined: stripping then applies to the text, and not to each token. */
  #isFused = false;
  readonly #isAdded: (token: string) => boolean;

  constructor(isAdded: (token: string) => boolean) {
    this.#isAdded = isAdded;
  }

  add(json: JsonValue | undefined): void {
    if (!isJsonObject(json)) throw unusable(`a decoder is ${describeJson(json)}, expected an object`);
    const type = getOwn(json, 'type');
    switch (type) {
      case 'Sequence':
        this.#addAll(getOwn(json, 'decoders'));
        break;
      case 'ByteLevel':
        this.#isFused = true;
        this.list.push((form) => (typeof form === 'string' && !this.#isAdded(form) ? byteLevel(form) : form));
        break;
      case 'ByteFallback':
        this.list.push((form) => (typeof form === 'string' ? byteFallback(form) : form));
        break;
      case 'Fuse':
        this.#isFused = true;
        break;
      case 'Replace': {
        const replace = libraryDecoder(json);
        this.#addText((token) => replace([token])[0]);
        break;
      }
      case 'WordPiece': {
        const wordPiece = libraryDecoder({ prefix: '##', cleanup: true, ...json });
        this.#addText((token, isFirst) => (isFirst ? wordPiece([token])[0] : wordPiece(['', token])[1]));
        break;
      }
      case 'Metaspace':
        this.#addMetaspace(json);
        break;
      case 'BPEDecoder':
        this.#addSuffix(asText(json, 'suffix', '</w>'));
        break;
      case 'Strip':
        this.#addStrip(asText(json, 'content', ' '), asCount(json, 'start'), asCount(json, 'stop'));
        break;
      default:
        throw unusable(`Unknown Decoder type: ${typeof type === 'string' ? type : describeJson(type)}`);
    }
  }

  #addAll(decoders: JsonValue | undefined): void {
    if (!Array.isArray(decoders)) throw unusable(`'decoders' is ${describeJson(decoders)}, expected a list`);
    for (const each of decoders) this.add(each);
  }

  #addText(change: (token: string, isFirst: boolean) => string): void {
    this.list.push((form, isFirst) => (typeof form === 'string' ? change(form, isFirst) : form));
  }

  /** A word's end is a space unless the text ends there, so at a token's end it waits for the next token. */
  #addSuffix(suffix: string): void {
    if (suffix === '') return;
    this.suffix = suffix;
    this.#addText((token) => {
      const isEnd = token.endsWith(suffix);
      const inner = isEnd ? token.slice(0, -suffix.length) : token;
      return inner.replaceAll(suffix, ' ') + (isEnd ? suffix : '');
    });
  }

  #addMetaspace(json: JsonObject): void {
    const replacement = asText(json, 'replacement', '▁');
    const isPrepended = getOwn(json, 'prepend_scheme') !== 'never' && getOwn(json, 'add_prefix_space') !== false;
    this.#addText((token, isFirst) => {
      const spaced = token.replaceAll(replacement, ' ');
      return isFirst && isPrepended && spaced.startsWith(' ') ? spaced.slice(1) : spaced;
    });
  }

  #addStrip(content: string, start: number, stop: number): void {
    const bytes = encoder.encode(content);
    if (this.#isFused) {
      this.stripStart = { content: bytes, count: start };
      this.stripEnd = { content: bytes, count: stop };
      return;
    }
    this.#addText((token) => {
      let [begin, end] = [0, token.length];
      for (let i = 0; i < start && token.startsWith(content, begin); i++) begin += content.length;
      for (let i = 0; i < stop && end > begin && token.slice(begin, end).endsWith(content); i++) end -= content.length;
      return token.slice(begin, end);
    });
  }
}

/** The bytes without the strip's characters at the beginning, and how many may yet be stripped after them. */
function stripped(
  bytes: Uint8Array,
  content: Uint8Array,
  most: number,
): { readonly bytes: Uint8Array; readonly strips: number } {
  let [strips, begin] = [most, 0];
  while (strips > 0 && begin < bytes.length) {
    if (!endsWith(bytes, begin + content.length, content)) return { bytes: bytes.subarray(begin), strips: 0 };
    begin += content.length;
    strips--;
  }
  return { bytes: bytes.subarray(begin), strips };
}

/** Whether the first `length` bytes end with `end`. */
function endsWith(bytes: Uint8Array, length: number, end: Uint8Array): boolean {
  const begin = length - end.length;
  return end.length > 0 && begin >= 0 && length <= bytes.length && end.every((byte, i) => bytes[begin + i] === byte);
}

function bytesOfForm(form: TokenForm): Uint8Array {
  return typeof form === 'string' ? encoder.encode(form) : form;
}

function text(form: TokenForm): string {
  return typeof form === 'string' ? form : utf8Text(form);
}

/** `<0xE2>` is the byte E2. */
function byteFallback(token: string): TokenForm {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(token) ? Uint8Array.of(Number.parseInt(token.slice(3, 5), 16)) : token;
}

/** Byte-level vocabularies write each byte as a character; a token with other characters is plain text. */
function byteLevel(token: string): TokenForm {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTES_OF_CHARACTERS.get(token.charCodeAt(i));
    if (byte === undefined) return token;
    bytes[i] = byte;
  }
  return bytes;
}

function asText(json: JsonObject, key: string, fallback: string): string {
  const value = getOwn(json, key) ?? fallback;
  if (typeof value === 'string') return value;
  throw unusable(`a decoder's '${key}' is ${describeJson(value)}, expected a string`);
}

function asCount(json: JsonObject, key: string): number {
  const value = getOwn(json, key) ?? 0;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw unusable(`a decoder's '${key}' is ${describeJson(value)}, expected a whole number from 0 on`);
}

function unusable(problem: string): TokenizerError {
  return new TokenizerError(`tokenizer.json can't be used: ${problem}.`, 'Get the file again.');
}
