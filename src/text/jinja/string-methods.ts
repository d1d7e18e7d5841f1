import { CallArguments } from './call-arguments.ts';
import { adjusted } from './slices.ts';
import {
  capitalize,
  isCased,
  isLower,
  isSpace,
  isTitle,
  isUpper,
  pad,
  replace,
  split,
  splitAtSpaces,
  splitFromRight,
  splitLines,
  strip,
  titleCase,
  wordsFromRight,
} from './strings.ts';
import { codePoints, Func, isList, iterate, MAX_LENGTH, TemplateError, Tuple, typeName, type Value } from './values.ts';

type Method = (text: string, args: CallArguments) => Value;

/** Parameters and function by name. */
const METHODS = new Map<string, readonly [parameters: readonly string[], method: Method]>([
  ['capitalize', [[], capitalize]],
  ['casefold', [[], (text) => text.replaceAll('ß', 'ss').replaceAll('ẞ', 'ss').toLowerCase()]],
  ['center', [['width', 'fillchar?'], padded('both')]],
  ['count', [['sub', 'start?', 'end?'], count]],
  ['endswith', [['suffix', 'start?', 'end?'], affixed('endswith', (text, affix) => text.endsWith(affix))]],
  ['expandtabs', [['tabsize?'], expandTabs]],
  ['find', [['sub', 'start?', 'end?'], (text, args) => find(text, args)]],
  ['index', [['sub', 'start?', 'end?'], (text, args) => found(find(text, args))]],
  ['isalnum', [[], matches(/^[\p{L}\p{Nd}\p{Nl}\p{No}]+$/u)]],
  ['isalpha', [[], matches(/^\p{L}+$/u)]],
  ['isascii', [[], matches(/^[\0-\x7f]*$/)]],
  ['isdecimal', [[], matches(/^\p{Nd}+$/u)]],
  ['isdigit', [[], matches(/^[\p{Nd}²³¹⁰-⁹₀-₉]+$/u)]],
  ['isidentifier', [[], matches(/^[\p{ID_Start}_]\p{ID_Continue}*$/u)]],
  ['islower', [[], isLower]],
  ['isnumeric', [[], matches(/^\p{N}+$/u)]],
  ['isprintable', [[], matches(/^(?: |[^\p{C}\p{Z}])*$/u)]],
  ['isspace', [[], isSpace]],
  ['istitle', [[], isTitle]],
  ['isupper', [[], isUpper]],
  ['join', [['iterable'], join]],
  ['ljust', [['width', 'fillchar?'], padded('right')]],
  ['lower', [[], (text) => text.toLowerCase()]],
  ['lstrip', [['chars?'], (text, args) => strip(text, args.textOrNone('chars'), true, false)]],
  ['partition', [['sep'], partition]],
  ['removeprefix', [['prefix'], removePrefix]],
  ['removesuffix', [['suffix'], removeSuffix]],
  ['replace', [['old', 'new', 'count?'], replaced]],
  ['rfind', [['sub', 'start?', 'end?'], (text, args) => find(text, args, true)]],
  ['rindex', [['sub', 'start?', 'end?'], (text, args) => found(find(text, args, true))]],
  ['rjust', [['width', 'fillchar?'], padded('left')]],
  ['rpartition', [['sep'], partitionFromRight]],
  ['rsplit', [['sep?', 'maxsplit?'], (text, args) => splitBy(text, args, wordsFromRight, splitFromRight)]],
  ['rstrip', [['chars?'], (text, args) => strip(text, args.textOrNone('chars'), false, true)]],
  ['split', [['sep?', 'maxsplit?'], (text, args) => splitBy(text, args, splitAtSpaces, split)]],
  ['splitlines', [['keepends?'], (text, args) => splitLines(text, Boolean(args.value('keepends', false)))]],
  ['startswith', [['prefix', 'start?', 'end?'], affixed('startswith', (text, affix) => text.startsWith(affix))]],
  ['strip', [['chars?'], (text, args) => strip(text, args.textOrNone('chars'))]],
  ['swapcase', [[], swapCase]],
  ['title', [[], titleCase]],
  ['upper', [[], (text) => text.toUpperCase()]],
  ['zfill', [['width'], zeroFilled]],
]);

/** A method of a text, bound to it; undefined if there is none with this name. Methods that format are elsewhere. */
export function stringMethod(text: string, name: string): Func | undefined {
  const entry = METHODS.get(name);
  if (entry === undefined) return undefined;
  const [parameters, method] = entry;
  return new Func(name, (args, kwargs) => method(text, new CallArguments(name, parameters, args, kwargs)));
}

function matches(pattern: RegExp): Method {
  return (text) => pattern.test(text);
}

function padded(where: 'left' | 'right' | 'both'): Method {
  return (text, args) => {
    const width = args.integer('width', 0);
    const fill = args.text('fillchar', ' ');
    if ([...fill].length !== 1) throw new TemplateError('The fill character must be exactly one character long');
    if (width > MAX_LENGTH) throw new TemplateError('The template makes a text that is too long.');
    return pad(text, width, where, fill);
  };
}

/** The part of a text from `start` to `end`, and where it begins in characters. */
function part(text: string, args: CallArguments): readonly [part: string, start: number] {
  const [start, end] = [args.value('start'), args.value('end')];
  if (start === null && end === null) return [text, 0];
  const units = codePoints(text);
  const from = adjusted(start, 0, units.length);
  const to = adjusted(end, units.length, units.length);
  // After the end not even the empty text is found.
  if (from > to || (typeof start === 'number' && start > units.length)) return ['', -1];
  return [typeof units === 'string' ? units.slice(from, to) : units.slice(from, to).join(''), from];
}

function count(text: string, args: CallArguments): number {
  const [inside, start] = part(text, args);
  if (start < 0) return 0;
  const sub = args.text('sub');
  return sub === '' ? codePoints(inside).length + 1 : inside.split(sub).length - 1;
}

function find(text: string, args: CallArguments, fromRight = false): number {
  const [inside, start] = part(text, args);
  const sub = args.text('sub');
  const at = start < 0 ? -1 : fromRight ? inside.lastIndexOf(sub) : inside.indexOf(sub);
  return at < 0 ? -1 : start + codePoints(inside.slice(0, at)).length;
}

function found(index: number): number {
  if (index >= 0) return index;
  throw new TemplateError('substring not found');
}

function affixed(name: string, test: (text: string, affix: string) => boolean): Method {
  return (text, args) => {
    const [inside, start] = part(text, args);
    const affix = args.value(name === 'endswith' ? 'suffix' : 'prefix');
    const affixes = affix instanceof Tuple ? affix.items : [affix];
    return affixes.some((each) => {
      if (typeof each === 'string') return start >= 0 && test(inside, each);
      throw new TemplateError(`${name} first arg must be str or a tuple of str, not ${typeName(each)}`);
    });
  };
}

function expandTabs(text: string, args: CallArguments): string {
  const size = args.integer('tabsize', 8);
  if (size > 1024) throw new TemplateError('tabsize is too large');
  let column = 0;
  let out = '';
  for (const character of text) {
    if (character === '\t') {
      const spaces = size > 0 ? size - (column % size) : 0;
      out += ' '.repeat(spaces);
      column += spaces;
    } else {
      out += character;
      column = character === '\n' || character === '\r' ? 0 : column + 1;
    }
  }
  return out;
}

function join(text: string, args: CallArguments): string {
  const parts: string[] = [];
  for (const item of iterate(args.value('iterable'))) {
    if (typeof item !== 'string') {
      throw new TemplateError(`sequence item ${parts.length}: expected str instance, ${typeName(item)} found`);
    }
    parts.push(item);
  }
  return parts.join(text);
}

function separator(args: CallArguments): string {
  const sep = args.text('sep');
  if (sep === '') throw new TemplateError('empty separator');
  return sep;
}

function partition(text: string, args: CallArguments): Tuple {
  const sep = separator(args);
  const at = text.indexOf(sep);
  return new Tuple(at < 0 ? [text, '', ''] : [text.slice(0, at), sep, text.slice(at + sep.length)]);
}

function partitionFromRight(text: string, args: CallArguments): Tuple {
  const sep = separator(args);
  const at = text.lastIndexOf(sep);
  return new Tuple(at < 0 ? ['', '', text] : [text.slice(0, at), sep, text.slice(at + sep.length)]);
}

function removePrefix(text: string, args: CallArguments): string {
  const prefix = args.text('prefix');
  return text.startsWith(prefix) ? text.slice(prefix.length) : text;
}

function removeSuffix(text: string, args: CallArguments): string {
  const suffix = args.text('suffix');
  return suffix !== '' && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
}

function replaced(text: string, args: CallArguments): string {
  return replace(text, args.text('old'), args.text('new'), args.integer('count', -1));
}

function splitBy(
  text: string,
  args: CallArguments,
  atSpace: (text: string, most: number) => string[],
  atSeparator: (text: string, separator: string, most: number) => string[],
): Value {
  const most = args.integer('maxsplit', -1);
  const parts = args.textOrNone('sep') === null ? atSpace(text, most) : atSeparator(text, separator(args), most);
  return isList(parts) ? parts : [];
}

function swapCase(text: string): string {
  const swap = (character: string) => (isLower(character) ? character.toUpperCase() : character.toLowerCase());
  return Array.from(text, (character) => (isCased(character) ? swap(character) : character)).join('');
}

function zeroFilled(text: string, args: CallArguments): string {
  const width = args.integer('width', 0);
  if (width > MAX_LENGTH) throw new TemplateError('The template makes a text that is too long.');
  const sign = /^[+-]/.test(text) ? text[0] : '';
  return sign + pad(text.slice(sign.length), width - sign.length, 'left', '0');
}
