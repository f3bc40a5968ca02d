import { generateKeyPairSync } from 'node:crypto';

export interface SshKeyPair {
  /** SEC 1, which ssh and sshd both load. */
  privatePem: string;
  /** `ecdsa-sha2-nistp256 AAAA...`, without a comment. */
  publicLine: string;
}

const keyType = 'ecdsa-sha2-nistp256';
const curve = 'nistp256';

/** An ECDSA key on P-256: the kind that Node can write in a format of OpenSSH's, so no ssh-keygen is needed. */
export function createSshKeyPair(): SshKeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const uncompressed = Buffer.from([4]);
  const point = Buffer.concat([uncompressed, Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  const blob = Buffer.concat([Buffer.from(keyType), Buffer.from(curve), point].map(withLength));
  return {
    privatePem: privateKey.export({ type: 'sec1', format: 'pem' }).toString(),
    publicLine: `${keyType} ${blob.toString('base64')}`,
  };
}

/** A `string` of RFC 4251. */
function withLength(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
