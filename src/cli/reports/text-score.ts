import type { LLM } from '../../engine/llm.ts';
import { TokenizerError } from '../../errors.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';

/** Measure of how well a model predicts a text. */
export interface TextScore {
  /** Scored tokens. */
  readonly tokens: number;
  /** UTF-8 bytes of the scored tokens' text. */
  readonly bytes: number;
  /** -log2 of the text's probability. */
  readonly bits: number;
}

/** Scores a text, or its first tokens. Empty texts score zero of everything. */
export async function scoreText(
  llm: LLM,
  text: string,
  maxTokens = Number.POSITIVE_INFINITY,
  watch: { readonly signal?: AbortSignal; readonly onTokens?: (done: number, total: number) => void } = {},
): Promise<TextScore> {
  const { tokenizer } = llm;
  if (!tokenizer) {
    throw new TokenizerError(`A text can't be scored: '${llm.folder}' has no tokenizer.json.`, 'Add the file.');
  }
  const all = tokenizer.encode(text, { addSpecialTokens: false });
  const bos = beginOfText(tokenizer);
  const [scored, bytes] = selectScored(tokenizer, text, all, maxTokens, bos === undefined);
  if (scored.length === 0) return { tokens: 0, bytes: 0, bits: 0 };
  const context = bos ?? all[0];
  const ids = [context, ...scored];
  const { signal, onTokens } = watch;
  const logprobs = await llm.logprobs(ids, { signal, onTokens: (done) => onTokens?.(done, ids.length) });
  const bits = -logprobs.reduce((sum, logprob) => sum + logprob, 0) / Math.LN2;
  return { tokens: scored.length, bytes, bits };
}

/** The sum over texts. */
export function totalScore(scores: readonly TextScore[]): TextScore {
  const sum = (key: keyof TextScore) => scores.reduce((total, score) => total + score[key], 0);
  return { tokens: sum('tokens'), bytes: sum('bytes'), bits: sum('bits') };
}

/** Bits per byte: comparable between tokenizers, as perplexity is not. NaN where nothing was scored. */
export function bitsPerByte({ bits, bytes }: TextScore): number {
  return bits / bytes;
}

/** exp of the mean loss per token. NaN where nothing was scored. */
export function perplexity({ bits, tokens }: TextScore): number {
  return 2 ** (bits / tokens);
}

/** Token before a text's first token, as its context: the one that the tokenizer adds, else its bos token. */
export function beginOfText(tokenizer: TextTokenizer): number | undefined {
  const [withSpecial] = tokenizer.encode('a');
  const [plain] = tokenizer.encode('a', { addSpecialTokens: false });
  return withSpecial === plain ? tokenizer.bosTokenId : withSpecial;
}

/** The tokens to score and the bytes that they stand for. */
function selectScored(
  tokenizer: TextTokenizer,
  text: string,
  all: readonly number[],
  maxTokens: number,
  firstIsContext: boolean,
): [readonly number[], number] {
  const begin = firstIsContext ? 1 : 0;
  const end = wholeCharacters(tokenizer, all, Math.min(all.length, begin + maxTokens));
  const bytesOf = (ids: readonly number[]) => Buffer.byteLength(tokenizer.decode(ids, { skipSpecialTokens: false }));
  const bytes = end === all.length ? Buffer.byteLength(text) : bytesOf(all.slice(0, end));
  return [all.slice(begin, end), bytes - bytesOf(all.slice(0, begin))];
}

/** A character's bytes may be spread over up to four tokens; a cut between them would leave bytes that no text has. */
function wholeCharacters(tokenizer: TextTokenizer, ids: readonly number[], end: number): number {
  if (end === ids.length) return end;
  for (let cut = end; cut > end - 4 && cut > 0; cut--) {
    // A few tokens do: what was cut shows at the end.
    const tail = tokenizer.decode(ids.slice(Math.max(0, cut - 8), cut), { skipSpecialTokens: false });
    if (!tail.endsWith('\uFFFD')) return cut;
  }
  return end;
}
