/** Foreign text for a sentence: control, bidirectional and other invisible characters are shown escaped, so that
 *  no name can steer a terminal, and what is longer than `lengthMax` characters is cut. */
export function visible(text: string, lengthMax = 120): string {
  const cut = text.length > lengthMax ? `${text.slice(0, lengthMax)}…` : text;
  return cut.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}
