import { GpuError } from '../../errors.ts';

/** What a shader's text leaves open: types, sizes, and which variant to make. */
export type ShaderConstants = Readonly<Record<string, string | number | boolean>>;

/**
 * Makes WGSL of a shader's text. That is all there is to it:
 *
 *     #include "name"            the text of shaders/name.wgsl
 *     #if NAME / #else / #endif  lines for a constant that is true, or not 0; #if !NAME the other way round
 *     $NAME                      a constant's value
 *
 * @throws GpuError when a constant or an included text is missing.
 */
export function expandShader(
  name: string,
  sources: Readonly<Record<string, string>>,
  constants: ShaderConstants,
): string {
  const out: string[] = [];
  /** For each open #if, whether its lines are taken. */
  const taken: boolean[] = [];
  const value = (constant: string): string | number | boolean => {
    const found = constants[constant];
    if (found === undefined) throw new GpuError(`The shader '${name}' wants a constant '${constant}'.`);
    return found;
  };
  const substitute = (text: string) => text.replace(/\$([A-Za-z]\w*)/g, (_, constant: string) => `${value(constant)}`);
  for (const line of source(name, sources).split('\n')) {
    const [, directive, operand = ''] = line.match(/^\s*#(include|if|else|endif)\s*(.*?)\s*$/) ?? [];
    if (directive === 'if') {
      const isNegated = operand.startsWith('!');
      taken.push(Boolean(value(isNegated ? operand.slice(1) : operand)) !== isNegated);
    } else if (directive === 'else') {
      taken.push(!taken.pop());
    } else if (directive === 'endif') {
      taken.pop();
    } else if (taken.includes(false)) {
    } else if (directive === 'include') {
      out.push(expandShader(substitute(operand.slice(1, -1)), sources, constants));
    } else {
      out.push(substitute(line));
    }
  }
  return out.join('\n');
}

function source(name: string, sources: Readonly<Record<string, string>>): string {
  const text = sources[name];
  if (text === undefined) throw new GpuError(`There is no shader '${name}'.`);
  return text;
}
