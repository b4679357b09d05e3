/** The part of the `ini` package that lines.ts uses; the package ships no types. */
declare module 'ini' {
  export function parse(
    text: string,
    options?: { readonly bracketedArray?: boolean },
  ): Record<string, Record<string, string | boolean | null>>;
}
