import { type ModelFiles, readJsonFile } from '../checkpoint/files/model-files.ts';
import type { JsonObject } from '../checkpoint/json/json.ts';
import { openModelFiles } from '../checkpoint/open-model-files.ts';
import { TokenIdError, TokenizerError } from '../errors.ts';
import { joinBytes } from '../util/join-bytes.ts';
import { AddedTokenSplitter, type TextOrToken } from './added-token-splitter.ts';
import { type AddedToken, END_NAMES, mergeTokenizerConfig, namedTokens, readAddedTokens } from './added-tokens.ts';
import { createLibraryTokenizer, type LibraryModel, type LibraryTokenizer } from './library-tokenizer.ts';
import { type TextPlace, TokenDecoder } from './token-decoder.ts';
import { assertTokenizerJson, canText } from './tokenizer-json.ts';
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
  /** Highest token id + 1. Models often have more rows in their embedding. */
  readonly vocabSize: number;
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  /** Tokens that end a text or a turn, as the files around the tokenizer name them: `eos_token` and `eot_token`. */
  readonly endTokenIds: readonly number[];
  readonly specialTokenIds: ReadonlySet<number>;
  /** Tokens by their role in texts: `bos_token`, `eos_token`, `pad_token` and others. */
  readonly namedTokens: ReadonlyMap<string, string>;
  readonly #json: JsonObject;
  readonly #library: LibraryTokenizer;
  readonly #model: LibraryModel;
  readonly #added: ReadonlyMap<number, AddedToken>;
  readonly #addedIds: ReadonlyMap<string, number>;
  /** Finds added tokens in an unchanged text, and in a normalised one. */
  readonly #splitters: readonly [AddedTokenSplitter, AddedTokenSplitter];
  readonly #decoder: TokenDecoder;

  /**
   * @param json content of tokenizer.json
   * @param config content of tokenizer_config.json. Of its flags `add_bos_token` and `add_eos_token` are ignored, as in
   * transformers 5: the post-processor of tokenizer.json says which tokens surround a text.
   * @param vocabSize rows of the model's embedding: special tokens that the files name without an id get the next free
   * one, as in transformers, where it is below this number
   * @throws TokenizerError when the files contradict the format
   */
  constructor(json: JsonObject, config: JsonObject = {}, vocabSize = 0) {
    assertTokenizerJson(json);
    this.#json = json;
    const named = namedTokens(config);
    this.namedTokens = new Map([...named].map(([name, [first]]) => [name, first]));
    this.#library = createLibraryTokenizer(json, this.namedTokens);
    const { model, normalizer } = this.#library;
    this.#model = model;
    this.#added = readAddedTokens(json, config, model.tokens_to_ids, vocabSize);
    const added = [...this.#added.values()];
    this.#addedIds = new Map(added.map(({ id, content }) => [content, id]));
    this.#decoder = new TokenDecoder(json.decoder, (token) => this.#addedIds.has(token));
    const isNormalized = ({ normalized }: AddedToken) => normalized && normalizer !== null;
    this.#splitters = [
      new AddedTokenSplitter(
        added.filter((token) => !isNormalized(token)).map((token) => ({ content: token.content, token })),
      ),
      new AddedTokenSplitter(
        added.filter(isNormalized).map((token) => ({ content: this.#normalize(token.content), token })),
      ),
    ];
    this.vocabSize = added.reduce((size, { id }) => Math.max(size, id + 1), model.vocab.length);
    this.bosToken = this.namedTokens.get('bos_token');
    this.eosToken = this.namedTokens.get('eos_token');
    this.bosTokenId = this.#idOf(this.bosToken);
    this.eosTokenId = this.#idOf(this.eosToken);
    const ends = END_NAMES.flatMap((name) => named.get(name) ?? []).flatMap((token) => known(this.#idOf(token)));
    this.endTokenIds = [...new Set(ends)];
    this.specialTokenIds = new Set(added.filter(({ special }) => special).map(({ id }) => id));
  }

  /**
   * The tokenizer of a model; undefined when it has none. Rejects with JsonFileError or TokenizerError when the files
   * are malformed.
   * @param vocabSize rows of the model's embedding
   */
  static async fromFiles(files: ModelFiles, vocabSize?: number): Promise<TextTokenizer | undefined> {
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
    const ids = this.#splitters[0].split(text).flatMap((part, i) => this.#idsOfPart(part, i));
    const around = this.#library.post_processor?.([TEXT], null, addSpecialTokens).tokens ?? [TEXT];
    return around.flatMap((token) => (token === TEXT ? ids : known(this.#idOf(token))));
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
    return this.placeToken(id, this.#decoder.inside).bytes;
  }

  /** A token's text after others, also of a special token; U+FFFD in place of incomplete characters. */
  tokenText(id: number): string {
    return utf8Text(this.tokenBytes(id));
  }

  /** The place of a text's first token. */
  textBegin(): TextPlace {
    return this.#decoder.begin();
  }

  /** The bytes that a token adds to a text at a place, and the place after it. */
  placeToken(id: number, place: TextPlace): { readonly bytes: Uint8Array; readonly next: TextPlace } {
    const token = this.#tokenOf(id);
    return token ? this.#decoder.decode(token, place) : { bytes: new Uint8Array(), next: place };
  }

  /** Whether decode looks at this id at all. */
  isVisible(id: number, skipSpecialTokens = true): boolean {
    if (skipSpecialTokens && this.specialTokenIds.has(id)) return false;
    return Boolean(this.#tokenOf(id));
  }

  /**
   * Throws TokenizerError when ordinary texts have tokens outside of the model's vocabulary of `vocabSize` rows. Added
   * tokens may lie outside, such as a padding token that was never trained: texts that contain them are refused.
   * Entries of the vocabulary that no text can contain may also lie outside.
   */
  assertFits(vocabSize: number): void {
    if (this.vocabSize <= vocabSize) return;
    const outside = this.#model.vocab.flatMap((token, id) => (id >= vocabSize && token !== undefined ? [token] : []));
    const found = canText(this.#json, outside);
    if (found === undefined) return;
    throw new TokenizerError(
      `The tokenizer has ids up to ${this.vocabSize - 1}, as for ${JSON.stringify(found)}, but the model's vocabulary has ${vocabSize} rows.`,
      'The tokenizer.json belongs to another model.',
    );
  }

  #idsOfPart(part: TextOrToken, index: number): number[] {
    if ('token' in part) return [part.token.id];
    const { tokens_to_ids: idsOf, unk_token_id: unknown } = this.#model;
    return this.#splitters[1].split(this.#normalize(part.text)).flatMap((each) => {
      if ('token' in each) return [each.token.id];
      const words = this.#library.pre_tokenizer?.(each.text, { section_index: index }) ?? [each.text];
      return this.#model(words).flatMap((token) => known(idsOf.get(token) ?? unknown));
    });
  }

  #normalize(text: string): string {
    return this.#library.normalizer?.(text) ?? text;
  }

  #tokenOf(id: number): string | undefined {
    return this.#added.get(id)?.content ?? this.#model.vocab[id];
  }

  #idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : (this.#addedIds.get(token) ?? this.#model.tokens_to_ids.get(token));
  }
}

/** Stands for a text's tokens while the post-processor adds others around them. */
const TEXT = '\0text';

function known(id: number | undefined): number[] {
  return id === undefined ? [] : [id];
}

/** @throws TokenIdError if a vocabulary of `vocabSize` rows has no such token. */
export function assertTokenId(id: number, vocabSize: number, tokenizer?: TextTokenizer): void {
  if (Number.isInteger(id) && id >= 0 && id < vocabSize) return;
  const text = tokenizer?.tokenText(id) ?? '';
  const token = text === '' ? `Token id ${id}` : `Token id ${id}, ${JSON.stringify(text)},`;
  throw new TokenIdError(`${token} is outside the vocabulary.`, `Ids run from 0 to ${vocabSize - 1}.`);
}
