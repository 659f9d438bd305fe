import { expect } from 'chai'
import { writeFileSync } from 'node:fs'
import { childrenOf } from '../../cli/processes.ts'
import { canMount, kill, Place, sh, start, until } from './harness.ts'

describe('two mounts of one volume', function () {
  this.timeout(120_000)
  let place: Place
  let one: string
  let other: string

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up()
    one = place.mount
    other = place.folder('other mount')
    const { stdout } = await place.well('mount', 'main', other, '--data', place.data)
    expect(stdout).to.include(`mounted on ${other}`)
  })
  after(async () => { await place?.clean() })

  const bothWays: Array<[string, () => [string, string]]> = [['from the first to the second', () => [one, other]], ['from the second to the first', () => [other, one]]]
  for (const [way, sides] of bothWays) {
    it(`contents, sizes and names are seen at once, ${way}`, async () => {
      const [here, there] = sides()
      await sh(`cd '${here}' && rm -rf a && mkdir a`)
      // Each line is one write here and one look there, so that whatever is cached in between is wrong.
      for (const size of [0, 1, 100, 20_000, 5_000_000, 300]) {
        await sh(`head -c ${size} /dev/urandom > '${here}/a/file' && cmp '${here}/a/file' '${there}/a/file' && [ "$(stat -c %s '${there}/a/file')" = ${size} ]`)
      }
      expect(await sh(`ls '${there}/a'; cd '${here}/a'; mv file moved; ls '${there}/a'; test ! -e '${there}/a/file'; rm moved; ls '${there}/a'`)).to.equal('file\nmoved\n')
      await sh(`test ! -e '${there}/a/moved' && rmdir '${there}/a' && test ! -e '${here}/a'`)
    })

    it(`a log that is appended to can be followed, ${way}`, async () => {
      const [here, there] = sides()
      await sh(`: > '${here}/log'`)
      const expected: string[] = []
      for (let line = 0; line < 10; line++) {
        await sh(`echo line ${line} >> '${here}/log'`)
        expected.push(`line ${line}`)
        expect((await sh(`cat '${there}/log'`)).trimEnd().split('\n')).to.deep.equal(expected)
      }
      const follow = start(['tail', '-n', '+1', '-f', `${there}/log`])
      await until('what was there', () => follow.text().includes('line 9'))
      await sh(`echo the last one >> '${here}/log'`)
      await until('the new line', () => follow.text().endsWith('the last one\n'))
      follow.child.kill()
      await follow.outcome
    })

    it(`times and modes are seen at once, ${way}`, async () => {
      const [here, there] = sides()
      await sh(`: > '${here}/timed'`)
      for (const time of ['2001-01-01 00:00:00.123456789', '2030-06-07 08:09:10.000000001']) {
        await sh(`touch -d '${time}' '${here}/timed'`)
        expect(await sh(`stat -c %y '${there}/timed'`)).to.include(time)
      }
      const before = await sh(`stat -c '%y' '${there}/timed'`)
      await sh(`echo changed > '${here}/timed'`)
      const after = await sh(`stat -c '%y' '${there}/timed'`)
      expect(after).to.equal(await sh(`stat -c '%y' '${here}/timed'`)).and.to.not.equal(before)
      expect(await sh(`chmod 604 '${here}/timed'; stat -c %a '${there}/timed'`)).to.equal('604\n')
    })
  }

  it('who appends to a file that the other mount has cut, through one descriptor all the time, leaves no gap', async () => {
    const script = `exec 3>> '${one}/cut'; echo before it was cut >&3; : > '${other}/cut'; echo after it >&3; echo and again >&3; cat '${one}/cut' '${other}/cut'`
    expect(await sh(script)).to.equal('after it\nand again\nafter it\nand again\n')
  })

  for (const killed of [false, true]) {
    it(`appends of both sides all arrive, each once and whole${killed ? ', when both workers are killed meanwhile, too' : ''}`, async () => {
      const workers = (await place.status()).mounts.flatMap(({ pid }) => childrenOf(pid))
      await sh(`: > '${one}/shared'; rm -f '${place.path('enough')}'`)
      /** Goes on until it is enough; how many it has appended. */
      const append = async (side: string, word: string): Promise<number> => Number(await sh(`
        i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo ${word} $i >> '${side}/shared'; done
        exec 3>> '${side}/shared'
        while [ $i -lt 400 ] || [ ! -e '${place.path('enough')}' ]; do i=$((i + 1)); echo ${word} $i >&3; done; echo $i`))
      const appending = Promise.all([append(one, 'one'), append(other, 'other')])
      if (killed) {
        await until('some lines', async () => Number(await sh(`wc -l < '${one}/shared'`)) > 60)
        for (const worker of workers) kill(worker, 'SIGKILL')
      }
      writeFileSync(place.path('enough'), '')
      const counts = await appending
      const lines = (await sh(`cat '${one}/shared'`)).trimEnd().split('\n')
      const expected = ['one', 'other'].flatMap((word, side) => Array.from({ length: counts[side]! }, (_, index) => `${word} ${index + 1}`))
      expect(lines.sort()).to.deep.equal(expected.sort())
      expect(await sh(`cat '${other}/shared'`)).to.equal(await sh(`cat '${one}/shared'`))
    })
  }

  it('a file that is open on one and removed on the other stays readable there', async () => {
    await sh(`echo kept > '${one}/open'; exec 3< '${one}/open'; rm '${other}/open'; test ! -e '${one}/open' && [ "$(cat <&3)" = kept ]`)
  })

  it('only one of two that create the same name exclusively succeeds', async () => {
    const make = (side: string): Promise<string> => sh(`made=0; for i in $(seq 30); do mkdir '${side}/race-'$i 2>/dev/null && made=$((made + 1)); done; echo $made`)
    const [here, there] = await Promise.all([make(one), make(other)])
    expect(Number(here) + Number(there)).to.equal(30)
  })

  it('status lists both, and umount ends only the one that is named', async () => {
    expect((await place.status()).mounts.map(({ path }) => path).sort()).to.deep.equal([one, other].sort())
    await place.well('umount', other, '--data', place.data)
    expect((await place.status()).mounts.map(({ path }) => path)).to.deep.equal([one])
    expect(await sh(`ls -A '${other}'`)).to.equal('')
    await sh(`test -e '${one}/shared'`)
    const again = await place.atoll('umount', other, '--data', place.data)
    expect(again.code).to.equal(1)
    expect(again.stderr).to.match(/^atoll: ATOLL_NOT_MOUNTED: /)
  })

  it('more volumes, with settings of their own, mount beside it', async () => {
    const small = place.folder('small')
    await place.well('volume', 'create', 'small', '--replicas', '1', '--chunk-size', '1MiB', '--placement', 'tivoli', '--data', place.data)
    await place.well('mount', 'small', small, '--data', place.data)
    await sh(`head -c 3000000 /dev/urandom > '${place.path('source')}' && cp '${place.path('source')}' '${small}/copy' && cmp '${place.path('source')}' '${small}/copy' && test ! -e '${one}/copy'`)
    await place.well('umount', small, '--data', place.data)
    const checked = await place.well('fsck', '--read-data', '--json', '--data', place.data)
    const reports: Array<{ volume: string, problems: unknown[] }> = JSON.parse(checked.stdout)
    expect(reports.map(({ volume }) => volume)).to.deep.equal(['main', 'small'])
    expect(reports.flatMap(({ problems }) => problems)).to.deep.equal([])
    await place.well('volume', 'remove', 'small', '--yes', '--data', place.data)
    expect((await place.status()).volumes.map(({ name }) => name)).to.deep.equal(['main'])
  })
})
