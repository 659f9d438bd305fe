import { expect } from 'chai'
import { heldBack } from './held-back.ts'

describe('outputs that are held back', () => {
  it('come one after the other, the one whose turn it is as it comes', () => {
    let seen = ''
    const [first, second, third] = heldBack(3, (text) => { seen += text.toString() })
    const say = (output: typeof first, text: string): string => { output!.write(Buffer.from(text)); return seen }
    expect(say(first, 'a')).to.equal('a')
    expect(say(second, '1')).to.equal('a')
    expect(say(third, 'x')).to.equal('a')
    third!.end()
    expect(say(first, 'b')).to.equal('ab')
    first!.end()
    expect(seen).to.equal('ab1')
    expect(say(second, '2')).to.equal('ab12')
    second!.end()
    expect(seen).to.equal('ab12x')
  })
})
