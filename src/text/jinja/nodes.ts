import type { Value } from './values.ts';

/** An expression: it has a value. */
export type Expression =
  | { readonly kind: 'constant'; readonly value: Value }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list'; readonly items: readonly Expression[] }
  | { readonly kind: 'tuple'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly entries: readonly (readonly [key: Expression, value: Expression])[] }
  | { readonly kind: 'attribute'; readonly of: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly of: Expression; readonly key: Expression }
  | { readonly kind: 'slice'; readonly parts: readonly (Expression | undefined)[] }
  | { readonly kind: 'call'; readonly callee: Expression; readonly args: Arguments }
  | { readonly kind: 'filter'; readonly of: Expression; readonly name: string; readonly args: Arguments }
  | { readonly kind: 'test'; readonly of: Expression; readonly name: string; readonly args: Arguments }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly of: Expression }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | {
      readonly kind: 'binary';
      readonly operator: '+' | '-' | '*' | '/' | '//' | '%' | '**';
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: 'concat'; readonly parts: readonly Expression[] }
  | { readonly kind: 'compare'; readonly first: Expression; readonly rest: readonly Comparison[] }
  | {
      readonly kind: 'conditional';
      readonly test: Expression;
      readonly value: Expression;
      readonly otherwise: Expression | undefined;
    }
  /** The text to which a block's filter is applied. */
  | { readonly kind: 'body' };

export interface Comparison {
  readonly operator: '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';
  readonly right: Expression;
}

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly named: readonly (readonly [name: string, value: Expression])[];
  /** `*list` */
  readonly rest: Expression | undefined;
  /** `**dict` */
  readonly namedRest: Expression | undefined;
}

/** The target of an assignment. */
export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'namespace'; readonly name: string; readonly attribute: string }
  | { readonly kind: 'tuple'; readonly items: readonly Target[] };

export interface MacroParameter {
  readonly name: string;
  readonly default: Expression | undefined;
}

/** A macro, or the block that a call passes. */
export interface MacroNode {
  readonly name: string;
  readonly parameters: readonly MacroParameter[];
  readonly body: readonly Statement[];
  /** Names among `varargs`, `kwargs` and `caller` that the body reads. */
  readonly reads: ReadonlySet<string>;
}

/** A statement, with the line where it begins. */
export type Statement = { readonly line: number } & (
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly value: Expression }
  | {
      readonly kind: 'if';
      readonly branches: readonly (readonly [test: Expression, body: readonly Statement[]])[];
      readonly otherwise: readonly Statement[];
    }
  | {
      readonly kind: 'for';
      readonly target: Target;
      readonly over: Expression;
      readonly test: Expression | undefined;
      readonly recursive: boolean;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: 'break' | 'continue' }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: 'set block';
      readonly target: Target;
      readonly filter: Expression;
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'filter block'; readonly filter: Expression; readonly body: readonly Statement[] }
  | {
      readonly kind: 'with';
      readonly values: readonly (readonly [target: Target, value: Expression])[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'macro'; readonly macro: MacroNode }
  | { readonly kind: 'call block'; readonly call: Expression & { kind: 'call' }; readonly caller: MacroNode }
  /** A part that transformers marks, or that another template could replace. */
  | { readonly kind: 'block'; readonly scoped: boolean; readonly body: readonly Statement[] }
);
