import { GpuError } from '../../../errors.ts';

/** What a shader's text leaves open: types, sizes, and which variant to make. */
export type ShaderConstants = Readonly<Record<string, string | number | boolean>>;

/**
 * Makes WGSL of a shader's text. That is all there is to it:
 *
 *     #include "name"            the text of shaders/name.wgsl
 *     #if NAME / #else / #endif  lines for a constant that is true, or not 0; #if !NAME the other way round
 *     #for i COUNT / #endfor     lines again and again, with the constant i from 0 to COUNT - 1; COUNT may be a number
 *     $NAME or ${NAME}           a constant's value
 *
 * @throws GpuError when a constant or an included text is missing.
 */
export function expandShader(
  name: string,
  sources: Readonly<Record<string, string>>,
  constants: ShaderConstants,
): string {
  const text = sources[name];
  if (text === undefined) throw new GpuError(`There is no shader '${name}'.`);
  return expandLines(name, text.split('\n'), sources, constants).join('\n');
}

function expandLines(
  name: string,
  lines: readonly string[],
  sources: Readonly<Record<string, string>>,
  constants: ShaderConstants,
): string[] {
  const value = (constant: string): string | number | boolean => {
    const found = constants[constant];
    if (found === undefined) throw new GpuError(`The shader '${name}' wants a constant '${constant}'.`);
    return found;
  };
  const substitute = (text: string) =>
    text.replace(/\$(?:([A-Za-z]\w*)|\{(\w+)\})/g, (_, plain: string, braced: string) => `${value(plain ?? braced)}`);
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const { directive, operand } = directiveOf(lines[at]);
    if (directive === 'if') {
      const { middle, end } = blockEnd(name, lines, at, 'if');
      const isNegated = operand.startsWith('!');
      const isTaken = Boolean(value(isNegated ? operand.slice(1) : operand)) !== isNegated;
      const block = isTaken ? lines.slice(at + 1, middle ?? end) : lines.slice((middle ?? end) + 1, end);
      out.push(...expandLines(name, block, sources, constants));
      at = end;
    } else if (directive === 'for') {
      const { end } = blockEnd(name, lines, at, 'for');
      const [index, count] = operand.split(/\s+/);
      const times = /^\d+$/.test(count) ? Number(count) : Number(value(count));
      for (let i = 0; i < times; i++) {
        out.push(...expandLines(name, lines.slice(at + 1, end), sources, { ...constants, [index]: i }));
      }
      at = end;
    } else if (directive === 'include') {
      out.push(expandShader(substitute(operand.slice(1, -1)), sources, constants));
    } else {
      out.push(substitute(lines[at]));
    }
  }
  return out;
}

function directiveOf(line: string): { readonly directive: string; readonly operand: string } {
  const [, directive = '', operand = ''] = line.match(/^\s*#(include|if|else|endif|for|endfor)\s*(.*?)\s*$/) ?? [];
  return { directive, operand };
}

/** Where the block that begins at `begin` ends, and where its #else is. */
function blockEnd(name: string, lines: readonly string[], begin: number, kind: 'if' | 'for') {
  let depth = 0;
  let middle: number | undefined;
  for (let at = begin + 1; at < lines.length; at++) {
    const { directive } = directiveOf(lines[at]);
    if (directive === 'if' || directive === 'for') depth++;
    else if (directive === 'else' && depth === 0) middle = at;
    else if (directive === 'endif' || directive === 'endfor') {
      if (depth === 0) return { middle, end: at };
      depth--;
    }
  }
  throw new GpuError(`The shader '${name}' has an #${kind} without an end.`);
}
