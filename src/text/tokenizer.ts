import {
  type ModelFiles,
  readJsonFile,
  type StoredTokenizer,
  type TokenizerFacts,
} from '../checkpoint/files/model-files.ts';
import type { JsonObject } from '../checkpoint/json/json.ts';
import { openModelFiles } from '../checkpoint/open-model-files.ts';
import { TokenIdError, TokenizerError } from '../errors.ts';
import { joinBytes } from '../util/join-bytes.ts';
import { shown } from '../util/shown.ts';
import { mergeTokenizerConfig } from './added-tokens.ts';
import type { TextPlace } from './token-decoder.ts';
import { TokenizerParts } from './tokenizer-parts.ts';
import { utf8Text } from './utf8-stream.ts';

/** Options of encoding a text. */
export interface EncodeOptions {
  /** Add what the model expects around a text, such as a beginning-of-text token. True when absent. */
  readonly addSpecialTokens?: boolean | undefined;
}

/** Options of decoding ids. */
export interface DecodeOptions {
  /** Leave out tokens such as `<|endoftext|>`. True when absent. */
  readonly skipSpecialTokens?: boolean | undefined;
}

/** Converts text to token ids and back, by a Hugging Face tokenizer.json and the files around it. */
export class TextTokenizer {
  readonly #facts: TokenizerFacts | undefined;
  readonly #make: () => TokenizerParts;
  #made: TokenizerParts | undefined;

  /**
   * @param json content of tokenizer.json, or a tokenizer whose files are made when they are first needed
   * @param config content of tokenizer_config.json, where the first argument does not have it. Of its flags
   * `add_bos_token` and `add_eos_token` are ignored, as in transformers 5: the post-processor of tokenizer.json says which
   * tokens surround a text.
   * @param vocabSize rows of the model's embedding: special tokens that the files name without an id get the next free
   * one, as in transformers, where it is below this number
   * @throws TokenizerError when the files contradict the format
   */
  constructor(json: JsonObject | StoredTokenizer, config: JsonObject = {}, vocabSize = 0) {
    const files = isStored(json) ? json : { read: () => ({ json, config }) };
    this.#facts = files.facts;
    this.#make = () => {
      const read = files.read();
      return new TokenizerParts(read.json, read.config, vocabSize);
    };
    if (this.#facts === undefined) this.#made = this.#make();
  }

  /** Makes what the first text would wait for. */
  warmUp(): void {
    this.#parts.warmUp();
  }

  get #parts(): TokenizerParts {
    this.#made ??= this.#make();
    return this.#made;
  }

  /** Highest token id + 1. Models often have more rows in their embedding. */
  get vocabSize(): number {
    return this.#facts?.vocabSize ?? this.#parts.vocabSize;
  }

  get bosToken(): string | undefined {
    return this.namedTokens.get('bos_token');
  }

  get eosToken(): string | undefined {
    return this.namedTokens.get('eos_token');
  }

  get bosTokenId(): number | undefined {
    return this.#parts.idOf(this.bosToken);
  }

  get eosTokenId(): number | undefined {
    return this.#parts.idOf(this.eosToken);
  }

  /** Tokens that end a text or a turn, as the files around the tokenizer name them: `eos_token` and `eot_token`. */
  get endTokenIds(): readonly number[] {
    return this.#facts?.endTokenIds ?? this.#parts.endTokenIds;
  }

  get specialTokenIds(): ReadonlySet<number> {
    return this.#parts.specialTokenIds;
  }

  /** Tokens by their role in texts: `bos_token`, `eos_token`, `pad_token` and others. */
  get namedTokens(): ReadonlyMap<string, string> {
    return this.#parts.namedTokens;
  }

  /**
   * The tokenizer of a model; undefined when it has none. Rejects with JsonFileError or TokenizerError when the files
   * are malformed.
   * @param vocabSize rows of the model's embedding
   */
  static async fromFiles(files: ModelFiles, vocabSize?: number): Promise<TextTokenizer | undefined> {
    if (files.storedTokenizer !== undefined) {
      const stored = await files.storedTokenizer();
      return stored && new TextTokenizer(stored, {}, vocabSize);
    }
    const json = await readJsonFile(files, 'tokenizer.json');
    if (json === undefined) return undefined;
    const config = (await readJsonFile(files, 'tokenizer_config.json')) ?? {};
    // Older checkpoints store there what newer ones store in the config.
    const map = await readJsonFile(files, 'special_tokens_map.json');
    const added = await readJsonFile(files, 'added_tokens.json');
    return new TextTokenizer(json, mergeTokenizerConfig(config, map, added), vocabSize);
  }

  /** The tokenizer of a model in a folder or at a URL; undefined if the model has none. */
  static async fromFolder(folder: string): Promise<TextTokenizer | undefined> {
    return TextTokenizer.fromFiles(await openModelFiles(folder));
  }

  /** Token ids of a text. Characters that the vocabulary can't express are left out, as in the Rust library. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    return this.#parts.encode(text, addSpecialTokens);
  }

  /**
   * The text of token ids; ids without a token add nothing. `clean_up_tokenization_spaces` is ignored, as transformers
   * 5 does for BPE: dropping the space in ' .' corrupts code.
   */
  decode(ids: readonly number[], { skipSpecialTokens = true }: DecodeOptions = {}): string {
    const parts: Uint8Array[] = [];
    let place = this.textBegin();
    for (const id of ids) {
      if (!this.isVisible(id, skipSpecialTokens)) continue;
      const { bytes, next } = this.placeToken(id, place);
      parts.push(bytes);
      place = next;
    }
    return utf8Text(joinBytes(parts));
  }

  /**
   * The bytes of a token after others, which may be only part of a character; empty for an id without a token. The
   * bytes of a text's tokens, joined, are its UTF-8, except for what decoders strip from its beginning, such as a
   * space.
   *
   * @example
   * ```ts
   * const [first, last] = tokenizer.encode('é', { addSpecialTokens: false }); // if 'é' is two tokens
   * tokenizer.tokenBytes(last); // Uint8Array [0xa9]
   * ```
   */
  tokenBytes(id: number): Uint8Array {
    return this.placeToken(id, this.#parts.decoder.inside).bytes;
  }

  /** A token's text after others, also of a special token; U+FFFD in place of incomplete characters. */
  tokenText(id: number): string {
    return utf8Text(this.tokenBytes(id));
  }

  /** The place of a text's first token. */
  textBegin(): TextPlace {
    return this.#parts.decoder.begin();
  }

  /** The bytes that a token adds to a text at a place, and the place after it. */
  placeToken(id: number, place: TextPlace): { readonly bytes: Uint8Array; readonly next: TextPlace } {
    const { decoder } = this.#parts;
    const token = this.#parts.tokenOf(id);
    return token ? decoder.decode(token, place) : { bytes: new Uint8Array(), next: place };
  }

  /** Whether decode looks at this id at all. */
  isVisible(id: number, skipSpecialTokens = true): boolean {
    if (skipSpecialTokens && this.specialTokenIds.has(id)) return false;
    return Boolean(this.#parts.tokenOf(id));
  }

  /**
   * Throws TokenizerError when ordinary texts have tokens outside of the model's vocabulary of `vocabSize` rows. Added
   * tokens may lie outside, such as a padding token that was never trained: texts that contain them are refused.
   * Entries of the vocabulary that no text can contain may also lie outside.
   */
  assertFits(vocabSize: number): void {
    if (this.vocabSize <= vocabSize) return;
    const found = this.#parts.textTokenFrom(vocabSize);
    if (found === undefined) return;
    throw new TokenizerError(
      `The tokenizer has ids up to ${this.vocabSize - 1}, as for ${JSON.stringify(found)}, but the model's vocabulary has ${vocabSize} rows.`,
      'The tokenizer.json belongs to another model.',
    );
  }
}

function isStored(source: JsonObject | StoredTokenizer): source is StoredTokenizer {
  return typeof source.read === 'function';
}

/** @throws TokenIdError if a vocabulary of `vocabSize` rows has no such token. */
export function assertTokenId(id: number, vocabSize: number, tokenizer?: TextTokenizer): void {
  if (Number.isInteger(id) && id >= 0 && id < vocabSize) return;
  const text = tokenizer?.tokenText(id) ?? '';
  const token = text === '' ? `Token id ${shown(id)}` : `Token id ${id}, ${JSON.stringify(text)},`;
  throw new TokenIdError(`${token} is outside the vocabulary.`, `Ids run from 0 to ${vocabSize - 1}.`);
}
