import { TokenizerError } from '../../../errors.ts';
import type { GgufMetadata } from '../gguf-metadata.ts';

/** How texts are cut into words, which byte-pair encoding does not cross. */
export interface PreTokenizer {
  /** Each cuts what those before it left whole: what it matches, and what lies between. */
  readonly patterns: readonly string[];
  /** Whether a word that is a token is taken as that token, whatever merges say. */
  readonly ignoreMerges?: boolean;
  /** Whether texts begin with the beginning-of-text token unless the file says otherwise. */
  readonly addsBos?: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const OTHERS = ' ?[^\\s\\p{L}\\p{N}]+';
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';

const GPT_2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|${OTHERS}|\\s+(?!\\S)|\\s+`;
const LLAMA_3 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${OTHERS}[\\r\\n]*|${SPACES}`;
const QWEN_2 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${OTHERS}[\\r\\n]*|${SPACES}`;
const QWEN_35 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`;
/** Words that end with small letters, and words of capitals. */
const cased = (before: string, end: string) => `${before}${UPPER}*${LOWER}+${end}|${before}${UPPER}+${LOWER}*${end}`;
const TEKKEN = `${cased('[^\\r\\n\\p{L}\\p{N}]?', '')}|\\p{N}|${OTHERS}[\\r\\n/]*|${SPACES}`;
const GPT_4O = `${cased('[^\\r\\n\\p{L}\\p{N}]?', `${CONTRACTIONS}?`)}|\\p{N}{1,3}|${OTHERS}[\\r\\n/]*|${SPACES}`;
const DEEPSEEK_3 =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|' +
  ` ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`;
/** Letters that have capitals, as DeepSeek's first tokenizers list them. */
const DEEPSEEK_LETTERS =
  'A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ' +
  'ὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇ' +
  'Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃';
const DEEPSEEK_HAN = '[一-龥ࠀ-一가-퟿]+';

/** Patterns by the names that llama.cpp has for them: those of the tokenizer.json that each was made from. */
const FAMILIES: readonly (PreTokenizer & { readonly names: readonly string[] })[] = [
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon-h1', 'falcon3', 'pixtral', 'lfm2', 'midm-2.0'],
    patterns: [LLAMA_3],
    ignoreMerges: true,
    addsBos: true,
  },
  { names: ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], patterns: [LLAMA_3] },
  { names: ['tekken'], patterns: [TEKKEN], ignoreMerges: true, addsBos: true },
  {
    names: [
      ...['gpt-2', 'olmo', 'mpt', 'phi-2', 'jais', 'trillion', 'granite-docling', 'exaone4'],
      ...['gigachat', 'mellum', 'modern-bert', 'a.x-4.0'],
    ],
    patterns: [GPT_2],
  },
  {
    names: ['refact', 'starcoder', 'command-r', 'smollm', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    patterns: ['\\p{N}', GPT_2],
  },
  {
    names: ['qwen2', 'stablelm2', 'hunyuan', 'solar-open', 'deepseek-r1-qwen', 'kormo', 'f2llmv2', 'megrez', 'grok-2'],
    patterns: [QWEN_2],
  },
  { names: ['qwen35'], patterns: [QWEN_35] },
  { names: ['gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2'], patterns: [GPT_4O] },
  { names: ['falcon'], patterns: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT_2, '[0-9][0-9][0-9]'] },
  {
    names: ['deepseek-llm'],
    patterns: [
      '[\\r\\n]',
      `\\s?[${DEEPSEEK_LETTERS}]+`,
      '\\s?[!-/:-~！-／：-～‘-‟　-。]+',
      '\\s+$',
      DEEPSEEK_HAN,
      '\\p{N}+',
    ],
  },
  { names: ['deepseek-coder'], patterns: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', DEEPSEEK_HAN, '\\p{N}'] },
  {
    names: ['deepseek-v3', 'hunyuan-dense', 'joyai-llm', 'hy_v4'],
    patterns: ['\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', DEEPSEEK_3],
  },
  { names: ['default'], patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT_2, '\\p{N}+', '[0-9][0-9][0-9]'] },
];

/**
 * How the model's texts are cut into words.
 * @throws TokenizerError when the file names a way that is not known.
 */
export function preTokenizer(metadata: GgufMetadata): PreTokenizer {
  // Files from before llama.cpp told tokenizers apart.
  const name = metadata.optionalString('tokenizer.ggml.pre') ?? 'default';
  const found = FAMILIES.find(({ names }) => names.includes(name));
  if (found !== undefined) return found;
  const base = baseRepository(metadata);
  throw new TokenizerError(
    `${metadata.fileName}: 'tokenizer.ggml.pre' is '${name}', which is not known, so texts can't be cut into words.`,
    base === undefined
      ? 'Use the repository that the file was converted from, which has a tokenizer.json.'
      : `Use the repository that the file was converted from, ${base}, which has a tokenizer.json.`,
  );
}

/** The repository that a file was made from, if it says so. */
function baseRepository(metadata: GgufMetadata): string | undefined {
  const keys = [
    'general.base_model.0.repo_url',
    'general.source.repo_url',
    'general.source.huggingface.repository',
    'general.source.url',
    'general.repo_url',
  ];
  return keys.map((key) => metadata.optionalString(key)).find((value) => value !== undefined && value !== '');
}

/** The part of a tokenizer.json that cuts texts so, and writes the bytes of words as characters. */
export function preTokenizerJson(patterns: readonly string[]) {
  const splits = patterns.map((pattern) => ({
    type: 'Split',
    pattern: { Regex: pattern },
    behavior: 'Isolated',
    invert: false,
  }));
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return { type: 'Sequence', pretokenizers: [...splits, bytes] };
}
