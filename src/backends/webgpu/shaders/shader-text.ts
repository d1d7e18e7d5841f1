import { GpuError } from '../../../errors.ts';

/** Values for the names that a shader's text leaves open: types, sizes, and which variant to make. */
export type ShaderConstants = Readonly<Record<string, string | number | boolean>>;

/** Lines of a shader as scripts/build-shaders.mjs parses them; that script says what the text may have besides WGSL. */
export type ShaderText = readonly ShaderNode[];

export type ShaderNode =
  | string
  /** A line with constants: text and constants' names in turn. */
  | { readonly parts: readonly string[] }
  /** Another text: parts of its name, which may have a constant in it. */
  | { readonly include: readonly string[] }
  | ({ readonly lines: ShaderText; readonly otherwise: ShaderText } & ShaderCondition)
  /** Lines repeated with a constant from 0 to `count` - 1. */
  | { readonly for: string; readonly count: string | number; readonly lines: ShaderText };

/** Holds for a constant that is true (or no 0), or that is the word `is`. */
export interface ShaderCondition {
  readonly if: string;
  readonly is?: string;
}

/** The numbers and buffers that a shader's text declares, in order. */
export interface ShaderInterface {
  /** Fields of `Params`, a uniform buffer at binding 0. */
  readonly params: readonly ShaderField[];
  /** Fields of `Fixed`, a constant. */
  readonly fixed: readonly ShaderField[];
  /** Storage buffers. */
  readonly bindings: readonly ShaderBinding[];
}

export interface ShaderField {
  readonly name: string;
  readonly type: 'u32' | 'i32' | 'f32';
  readonly when?: readonly DeclaredWhen[];
}

export interface ShaderBinding {
  readonly binding: number;
  readonly name: string;
  readonly access: 'read' | 'read_write';
  readonly when?: readonly DeclaredWhen[];
}

/** A condition around a declaration, negated if the declaration is in its `#else`. */
interface DeclaredWhen extends ShaderCondition {
  readonly not?: boolean;
}

/** WGSL of a text for these constants. @throws GpuError when a constant is missing. */
export function expandShader(
  name: string,
  texts: Readonly<Record<string, ShaderText>>,
  constants: ShaderConstants,
): string {
  return expandLines(texts[name], texts, constants).join('\n');
}

function expandLines(
  text: ShaderText,
  texts: Readonly<Record<string, ShaderText>>,
  constants: ShaderConstants,
): string[] {
  return text.flatMap((node) => {
    if (typeof node === 'string') return node;
    if ('parts' in node) return joined(node.parts, constants);
    if ('include' in node) return expandLines(texts[joined(node.include, constants)], texts, constants);
    if ('if' in node) return expandLines(holds(node, constants) ? node.lines : node.otherwise, texts, constants);
    const count = typeof node.count === 'number' ? node.count : Number(constantOf(node.count, constants));
    return Array.from({ length: count }, (_, i) =>
      expandLines(node.lines, texts, { ...constants, [node.for]: i }),
    ).flat();
  });
}

/** The members that are declared for these constants. */
export function declared<Member extends ShaderField | ShaderBinding>(
  members: readonly Member[],
  constants: ShaderConstants,
): readonly Member[] {
  return members.filter(({ when = [] }) =>
    when.every((condition) => holds(condition, constants) !== (condition.not ?? false)),
  );
}

function holds({ if: name, is }: ShaderCondition, constants: ShaderConstants): boolean {
  const value = constantOf(name, constants);
  return is === undefined ? Boolean(value) : value === is;
}

function joined(parts: readonly string[], constants: ShaderConstants): string {
  return parts.map((part, i) => (i % 2 === 1 ? constantOf(part, constants) : part)).join('');
}

function constantOf(name: string, constants: ShaderConstants): string | number | boolean {
  const value = constants[name];
  if (value === undefined) throw new GpuError(`A shader's constant '${name}' has no value.`);
  return value;
}
