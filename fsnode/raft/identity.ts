import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, codeOf, messageOf } from '../protocol/errors.ts'

export const identityFileName = 'identity.key'

export interface Identity {
  privateKey: PrivateKey
  /** Derived from the key: what other nodes know this one by. */
  peerId: string
}

/** The node's key: made at the first start, the same ever after. Rejects with ATOLL_STORE_UNUSABLE if the file is not a key. */
export async function loadOrCreateIdentity (directory: string): Promise<Identity> {
  const path = join(directory, identityFileName)
  const privateKey = await load(path) ?? await create(directory, path)
  return { privateKey, peerId: peerIdFromPrivateKey(privateKey).toString() }
}

async function load (path: string): Promise<PrivateKey | null> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw new AtollError('ATOLL_STORE_UNUSABLE', `cannot read the node's identity: ${messageOf(error)}`)
  }
  try {
    return privateKeyFromProtobuf(bytes)
  } catch (error) {
    throw new AtollError('ATOLL_STORE_UNUSABLE', `the node's identity in ${path} is damaged: ${messageOf(error)}`)
  }
}

async function create (directory: string, path: string): Promise<PrivateKey> {
  const privateKey = await generateKeyPair('Ed25519')
  await mkdir(directory, { recursive: true })
  // Complete or not there at all, whenever the machine stops.
  const unfinished = `${path}.new`
  const file = await open(unfinished, 'w', 0o600)
  try {
    await file.writeFile(privateKeyToProtobuf(privateKey))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(unfinished, path)
  return privateKey
}
