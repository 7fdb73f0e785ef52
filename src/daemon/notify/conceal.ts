/** Keeps secrets out of what another side says: servers and proxies like to repeat what they were given. */

/** `text` with every secret in it, also as base64, made unreadable. */
export function conceal(text: string, secrets: readonly string[]): string {
  return secrets
    .flatMap((secret) => [secret, Buffer.from(secret).toString('base64')])
    .filter((form) => form !== '')
    .reduce((concealed, form) => concealed.replaceAll(form, '***'), text);
}
