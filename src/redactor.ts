/**
 * Shapes of keys that providers echo in their error texts, caught even when the key is not one of ours. `hf_token_env`
 * is the name of an argument, which errors about it must be able to say.
 */
const keyShapes = /\b(?:sk-|secret_|hf_(?!token_env\b)|gsk_|nvapi-|tdm_|Bearer\s+)[A-Za-z0-9_\-.=]{8,}/g;

/** Real keys are 20 characters and more. */
const shortestKey = 12;

/** So many characters of a key tell which one it is. */
const recognisable = 10;

/** Removes secrets from any text that leaves the process: logs, tool errors, doctor. */
export class Redactor {
  readonly #secrets = new Set<string>();

  /**
   * Short values are not registered: they are stand-ins for servers that want any key ("ollama", "not-needed"), and
   * hiding them would tear words out of answers and protect nothing.
   */
  add(secret: string): void {
    if (secret.length >= shortestKey) this.#secrets.add(secret);
  }

  /** Removes what looks like a key, and our own ones also where a cut left only their beginning. */
  scrub(text: string): string {
    let clean = this.hide(text);
    for (const secret of this.#secrets) {
      if (secret.length < 2 * recognisable) continue;
      const beginning = secret.slice(0, recognisable).replace(/[^\w-]/g, '\\$&');
      clean = clean.replace(new RegExp(`${beginning}[\\w.=-]*(?=…)`, 'g'), '[redacted]');
    }
    return clean.replace(keyShapes, '[redacted]');
  }

  /** Removes our own secrets and nothing else: for texts of others, such as answers, that must stay as they are. */
  hide(text: string): string {
    let clean = text;
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, '[redacted]');
    return clean;
  }

  /** As `hide`, for bytes. The same ones where there is nothing to hide, which is seen without decoding them. */
  hideInBytes(bytes: Buffer): Buffer {
    let clean = bytes;
    for (const secret of this.#secrets) {
      if (!clean.includes(secret)) continue;
      // Latin 1 has a letter for every byte: what is no UTF-8 stays as it is.
      const pattern = Buffer.from(secret).toString('latin1');
      clean = Buffer.from(clean.toString('latin1').replaceAll(pattern, '[redacted]'), 'latin1');
    }
    return clean;
  }
}
