/** Shapes of keys that providers echo in their error texts, caught even when the key is not one of ours. */
const keyShapes = /\b(?:sk-|secret_|hf_|gsk_|nvapi-|Bearer\s+)[A-Za-z0-9_\-.=]{8,}/g;

/** Removes secrets from any text that leaves the process: logs, tool errors, doctor. */
export class Redactor {
  readonly #secrets = new Set<string>();

  /** Very short values are not registered: hiding every "a" would make texts unreadable and protect nothing. */
  add(secret: string): void {
    if (secret.length >= 6) this.#secrets.add(secret);
  }

  scrub(text: string): string {
    let clean = text;
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, '[redacted]');
    return clean.replace(keyShapes, '[redacted]');
  }
}
