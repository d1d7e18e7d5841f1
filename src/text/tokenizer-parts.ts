import { isJsonObject, type JsonObject } from '../checkpoint/json/json.ts';
import { AddedTokenSplitter, type TextOrToken } from './added-token-splitter.ts';
import { type AddedToken, END_NAMES, namedTokens, readAddedTokens } from './added-tokens.ts';
import { createLibraryTokenizer, type LibraryTokenizer } from './library-tokenizer.ts';
import { TokenDecoder } from './token-decoder.ts';
import { assertTokenizerJson, canText } from './tokenizer-json.ts';
import { libraryVocabulary, storedVocabulary, type Vocabulary } from './vocabulary.ts';

/** What the contents of tokenizer.json and tokenizer_config.json make a tokenizer of. */
export class TokenizerParts {
  /** Highest token id + 1. */
  readonly vocabSize: number;
  /** Tokens that end a text or a turn. */
  readonly endTokenIds: readonly number[];
  readonly specialTokenIds: ReadonlySet<number>;
  /** Tokens by their role in texts. */
  readonly namedTokens: ReadonlyMap<string, string>;
  readonly decoder: TokenDecoder;
  readonly #json: JsonObject;
  readonly #vocabulary: Vocabulary;
  readonly #added: ReadonlyMap<number, AddedToken>;
  readonly #addedIds: ReadonlyMap<string, number>;
  #library: LibraryTokenizer | undefined;
  #splitters: Splitters | undefined;

  /** @throws TokenizerError when the files contradict the format */
  constructor(json: JsonObject, config: JsonObject, vocabSize: number) {
    assertTokenizerJson(json);
    this.#json = json;
    const named = namedTokens(config);
    this.namedTokens = new Map([...named].map(([name, [first]]) => [name, first]));
    const stored = storedVocabulary(json);
    // Its other parts are tried without the vocabulary, so that files that can't be used are found now.
    if (stored) createLibraryTokenizer(withoutVocabulary(json), this.namedTokens);
    this.#vocabulary = stored ?? libraryVocabulary(this.#tokenizer.model);
    this.#added = readAddedTokens(json, config, this.#vocabulary, vocabSize);
    const added = [...this.#added.values()];
    this.#addedIds = new Map(added.map(({ id, content }) => [content, id]));
    this.decoder = new TokenDecoder(json.decoder, (token) => this.#addedIds.has(token));
    this.vocabSize = added.reduce((size, { id }) => Math.max(size, id + 1), this.#vocabulary.length);
    const ends = END_NAMES.flatMap((name) => named.get(name) ?? []).flatMap((token) => known(this.idOf(token)));
    this.endTokenIds = [...new Set(ends)];
    this.specialTokenIds = new Set(added.filter(({ special }) => special).map(({ id }) => id));
  }

  /** Makes the library's tokenizer, which takes long where the vocabulary is large. */
  warmUp(): void {
    this.#library ??= createLibraryTokenizer(this.#json, this.namedTokens);
  }

  get #tokenizer(): LibraryTokenizer {
    this.#library ??= createLibraryTokenizer(this.#json, this.namedTokens);
    return this.#library;
  }

  /** Token ids of a text, and of what surrounds it. */
  encode(text: string, addSpecialTokens: boolean): number[] {
    this.#splitters ??= this.#makeSplitters();
    const { stored, normalized } = this.#splitters;
    const ids = stored.split(text).flatMap((part, i) => this.#idsOfPart(part, i, normalized));
    const around = this.#tokenizer.post_processor?.([TEXT], null, addSpecialTokens).tokens ?? [TEXT];
    return around.flatMap((token) => (token === TEXT ? ids : known(this.idOf(token))));
  }

  /** A token by its id. */
  tokenOf(id: number): string | undefined {
    return this.#added.get(id)?.content ?? this.#tokenizer.model.vocab[id];
  }

  /** The id of a token. */
  idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : (this.#addedIds.get(token) ?? this.#vocabulary.idOf(token));
  }

  /** A token of the vocabulary that texts can contain, with this id or a higher one; undefined if there is none. */
  textTokenFrom(begin: number): string | undefined {
    const { vocab } = this.#tokenizer.model;
    return canText(
      this.#json,
      vocab.flatMap((token, id) => (id >= begin && token !== undefined ? [token] : [])),
    );
  }

  #makeSplitters(): Splitters {
    const added = [...this.#added.values()];
    const isNormalized = ({ normalized }: AddedToken) => normalized && this.#tokenizer.normalizer !== null;
    const splitter = (tokens: readonly AddedToken[], content: (token: AddedToken) => string) =>
      new AddedTokenSplitter(tokens.map((token) => ({ content: content(token), token })));
    return {
      stored: splitter(
        added.filter((token) => !isNormalized(token)),
        (token) => token.content,
      ),
      normalized: splitter(added.filter(isNormalized), (token) => this.#normalize(token.content)),
    };
  }

  #idsOfPart(part: TextOrToken, index: number, normalized: AddedTokenSplitter): number[] {
    if ('token' in part) return [part.token.id];
    const { model, pre_tokenizer } = this.#tokenizer;
    const { tokens_to_ids: idsOf, unk_token_id: unknown } = model;
    return normalized.split(this.#normalize(part.text)).flatMap((each) => {
      if ('token' in each) return [each.token.id];
      const words = pre_tokenizer?.(each.text, { section_index: index }) ?? [each.text];
      return model(words).flatMap((token) => known(idsOf.get(token) ?? unknown));
    });
  }

  #normalize(text: string): string {
    return this.#tokenizer.normalizer?.(text) ?? text;
  }
}

/** Find added tokens in an unchanged text, and in a normalised one. */
interface Splitters {
  readonly stored: AddedTokenSplitter;
  readonly normalized: AddedTokenSplitter;
}

/** Stands for a text's tokens while the post-processor adds others around them. */
const TEXT = '\0text';

function withoutVocabulary(json: JsonObject): JsonObject {
  return { ...json, model: { ...(isJsonObject(json.model) ? json.model : {}), vocab: {}, merges: [] } };
}

function known(id: number | undefined): number[] {
  return id === undefined ? [] : [id];
}
