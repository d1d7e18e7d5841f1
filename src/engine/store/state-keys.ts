import { groupBy } from '../../util/group-by.ts';
import { hex, sha256 } from '../../util/sha256.ts';

/** Tokens between two places of a text. The keys and values of attention layers lie at each place, for the tokens before. */
export const PLACE_TOKENS = 256;

/** Name of the keys and values of the tokens that lead to a place. */
const KEYS_AND_VALUES = 'keys-and-values';

/** After a number of whole places of a text: what all texts that begin with these tokens share. */
export interface Place {
  readonly name: string;
  readonly digest: Uint8Array<ArrayBuffer>;
}

/** A state that a store lists, of the first tokens of a text. */
export interface ListedState {
  readonly key: string;
  readonly length: number;
  /** Whether the logits that follow are with it. */
  readonly hasLogits: boolean;
}

/**
 * Keys of one model's states, by their tokens: SHA-256 over 256 tokens at a time, each chained to the one before, the first
 * to the model and the salt. So no model and no tenant finds what belongs to another, and keys reveal no tokens.
 */
export class StateKeys {
  readonly #model: string;

  /** @param model all that states depend on besides the tokens. */
  constructor(model: string) {
    this.#model = model;
  }

  /** The places of a text, from 0 tokens on. */
  async places(tokenIds: readonly number[], salt: string | undefined): Promise<Place[]> {
    const start = new TextEncoder().encode(JSON.stringify([this.#model, salt ?? null]));
    const places = [placeOf(await sha256(start))];
    for (let end = PLACE_TOKENS; end <= tokenIds.length; end += PLACE_TOKENS) {
      const { digest } = places[places.length - 1];
      places.push(placeOf(await chained(digest, tokenIds, end - PLACE_TOKENS, end)));
    }
    return places;
  }

  /** Key of the state after the first `length` tokens. @param places of the text, or of a longer one. */
  async keyOf(
    places: readonly Place[],
    tokenIds: readonly number[],
    { length, hasLogits }: { readonly length: number; readonly hasLogits: boolean },
  ): Promise<string> {
    const index = Math.floor(length / PLACE_TOKENS);
    const { name, digest } = places[index];
    const rest = await chained(digest, tokenIds, index * PLACE_TOKENS, length);
    return `${name}/${length}${hasLogits ? 'l' : ''}-${nameOf(rest)}`;
  }

  /** Key of the keys and values of the 256 tokens before a place. */
  keysAndValuesOf({ name }: Place): string {
    return `${name}/${KEYS_AND_VALUES}`;
  }

  /**
   * The states of this text's beginnings among those that are listed at its places, the longest first.
   * @param known tokens whose state is known: shorter ones are of no use.
   */
  async *find(
    places: readonly Place[],
    listed: readonly (readonly string[])[],
    tokenIds: readonly number[],
    known: number,
  ): AsyncGenerator<ListedState, void> {
    for (let index = places.length - 1; index >= Math.floor(known / PLACE_TOKENS); index--) {
      const names = (listed[index] ?? []).flatMap(parse).filter(({ length, hasLogits }) => {
        const isOfPlace = Math.floor(length / PLACE_TOKENS) === index;
        // After the last token a sequence continues from logits.
        return isOfPlace && length > known && (length < tokenIds.length || (length === tokenIds.length && hasLogits));
      });
      for (const [length, alike] of [...groupBy(names, (name) => name.length)].sort(([a], [b]) => b - a)) {
        for (const hasLogits of [true, false]) {
          const own = alike.filter((name) => name.hasLogits === hasLogits);
          if (own.length === 0) continue;
          const key = await this.keyOf(places, tokenIds, { length, hasLogits });
          if (own.some(({ name }) => `${places[index].name}/${name}` === key)) yield { key, length, hasLogits };
        }
      }
    }
  }
}

/** A name of a state: its length, and whether the logits are with it. None of other names. */
function parse(name: string): { name: string; length: number; hasLogits: boolean }[] {
  const [, length, mark] = /^(\d{1,9})(l?)-[0-9a-f]{32}$/.exec(name) ?? [];
  return length === undefined ? [] : [{ name, length: Number(length), hasLogits: mark !== '' }];
}

function placeOf(digest: Uint8Array<ArrayBuffer>): Place {
  return { name: nameOf(digest), digest };
}

/** Digest of some tokens, and of the digest before them. */
function chained(before: Uint8Array, tokenIds: readonly number[], begin: number, end: number) {
  const bytes = new Uint8Array(before.length + 4 * (end - begin));
  bytes.set(before);
  const view = new DataView(bytes.buffer, before.length);
  for (let i = begin; i < end; i++) view.setUint32(4 * (i - begin), tokenIds[i], true);
  return sha256(bytes);
}

/** 128 bits are enough for a name: 2^64 states would have to be there before two share one. */
function nameOf(digest: Uint8Array): string {
  return hex(digest.subarray(0, 16));
}
