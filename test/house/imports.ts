/** What a source file imports, as the specifiers stand in it: static, re-exported, type-only and dynamic ones. */

// A comment or a string that is no specifier must not look like an import; an import must survive line breaks.
const COMMENT = /\/\*[\s\S]*?\*\/|(?<=^|[\s;{}])\/\/[^\n]*/g;
const CLAUSE = String.raw`(?:\*(?:\s+as\s+[\w$]+)?|\{[^}]*\}|[\w$]+)`;
const SPECIFIER = new RegExp(
  [
    String.raw`^[ \t]*(?:import|export)\s+(?:type\s+)?(?:[\w$]+\s*,\s*)?${CLAUSE}\s*from\s*['"]([^'"]+)['"]`,
    String.raw`^[ \t]*import\s*['"]([^'"]+)['"]`,
    String.raw`\bimport\(\s*['"]([^'"]+)['"]`,
    String.raw`\brequire\(\s*['"]([^'"]+)['"]`,
  ].join('|'),
  'gm',
);

export function importsOf(text: string): string[] {
  const code = text.replace(COMMENT, '');
  return [...code.matchAll(SPECIFIER)].map(
    (match) => match.slice(1).find((group) => group !== undefined) ?? '',
  );
}
