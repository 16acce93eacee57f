"""Degradations of whole batches of speech with torch, on any device, for labels that a teacher gives as it goes.

They are cruder than those of `jsqa_hf.jnd`, whose severities are known in JNDs, and hundreds of times faster on a GPU.
All ranges and probabilities are our choice, so that the teacher's scores fill the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from held_out import SAMPLING_RATE
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

# Shares of clips with none, one, two, three and four degradations.
COUNTS = (0.06, 0.4, 0.3, 0.16, 0.08)
# Largest amplitude that is no digital silence, and keeps divisions finite.
EPSILON = 1e-7


class Bank:
    """Recordings of any lengths, of which excerpts of one length are drawn; what is shorter is repeated.

    Args:
        recordings: at least one tensor (samples,) each.
        device: where the excerpts are wanted.
    """

    def __init__(self, recordings: Sequence[Tensor], device: torch.device | str) -> None:
        if not recordings:
            raise ValueError("there is no recording to draw from")
        lengths = torch.tensor([len(one) for one in recordings])
        self.samples = torch.cat(list(recordings)).to(device)
        self.lengths = lengths.to(device)
        self.starts = (lengths.cumsum(0) - lengths).to(device)

    def draw(self, generator: torch.Generator, count: int, samples: int) -> Tensor:
        """(count, samples) float32 from random recordings, each from a random place on."""
        device = self.samples.device
        chosen = torch.randint(len(self.lengths), (count,), generator=generator, device=device)
        length = self.lengths[chosen, None]
        offset = (torch.rand(count, 1, generator=generator, device=device) * (length - samples).clamp(min=1)).long()
        place = (offset + torch.arange(samples, device=device)) % length
        return self.samples[self.starts[chosen, None] + place].float()


def active_level(clips: Tensor) -> Tensor:
    """Root mean square of the 20-ms frames within 35 dB of the loudest, (batch, samples) → (batch, 1)."""
    power = clips.unfold(-1, 320, 320).square().mean(-1)
    active = power >= power.amax(-1, keepdim=True) * 10**-3.5
    return ((power * active).sum(-1, keepdim=True) / active.sum(-1, keepdim=True)).sqrt() + EPSILON


class BatchDegrader:
    """Draws degradations for every clip of a batch: up to four, in the order in which they happen on the way.

    Args:
        noise: recordings to add.
        rirs: measured room impulse responses; half of the rooms are drawn from them, if there are any.
        seed: of all draws.
        device: of the clips.
    """

    def __init__(self, noise: Bank, rirs: Sequence[Tensor], seed: int, device: torch.device | str) -> None:
        self.noise, self.device = noise, device
        self.rirs = [rir[int(rir.abs().argmax()) :].to(device) for rir in rirs]
        self.generator = torch.Generator(device).manual_seed(seed)
        # In this order, with how often each is drawn relative to the others.
        self.degradations: list[tuple[float, Callable[[Tensor], Tensor]]] = [
            (0.5, self.change_speed),
            (1.5, self.reverberate),
            (3.0, self.add_recorded_noise),
            (1.2, self.add_coloured_noise),
            (0.8, self.add_babble),
            (0.4, self.add_hum),
            (0.8, self.modulate_noise),
            (1.2, self.suppress_noise),
            (1.0, self.gate),
            (2.0, self.limit_band),
            (1.0, self.equalise),
            (1.0, self.clip),
            (0.8, self.quantise),
            (1.2, self.quantise_spectrum),
            (0.8, self.scramble_phase),
            (0.7, self.smear),
            (0.8, self.resynthesise),
            (1.8, self.lose_packets),
            (0.4, self.fade),
        ]

    def uniform(self, count: int, low: float, high: float) -> Tensor:
        """(count, 1), even between the bounds."""
        return low + (high - low) * torch.rand(count, 1, generator=self.generator, device=self.device)

    def noise_like(self, clips: Tensor) -> Tensor:
        """White noise of the shape of the clips."""
        return torch.randn(clips.shape, generator=self.generator, device=self.device)

    def one(self, low: float, high: float) -> float:
        """A number for the whole batch, even between the bounds."""
        return float(self.uniform(1, low, high))

    @torch.no_grad()
    def __call__(self, clips: Tensor) -> Tensor:
        """(batch, samples) → (batch, samples), at levels between -42 and -12 dBov, clipped at full scale."""
        count = len(clips)
        wanted = torch.multinomial(
            torch.tensor(COUNTS, device=self.device), count, replacement=True, generator=self.generator
        )
        weights = torch.tensor([weight for weight, _ in self.degradations], device=self.device)
        order = torch.multinomial(weights.expand(count, -1), len(COUNTS) - 1, generator=self.generator)
        used = torch.arange(len(COUNTS) - 1, device=self.device) < wanted[:, None]
        clips = clips / active_level(clips) * 0.05
        for number, (_, degrade) in enumerate(self.degradations):
            chosen = ((order == number) & used).any(1).nonzero()[:, 0]
            if len(chosen):
                degraded = degrade(clips[chosen])
                clips[chosen] = degraded.nan_to_num(0.0)
        level = 10 ** (self.uniform(count, -42, -12) / 20)
        return (clips / active_level(clips) * level).clamp(-1, 1)

    def mix(self, clips: Tensor, noise: Tensor, low: float, high: float) -> Tensor:
        """Add noise at ratios even between the bounds in dB."""
        ratio = 10 ** (self.uniform(len(clips), low, high) / 20)
        scale = active_level(clips) / (noise.square().mean(-1, keepdim=True).sqrt() + EPSILON) / ratio
        return clips + noise * scale

    def change_speed(self, clips: Tensor) -> Tensor:
        """Faster or slower by up to 20 %, pitch included."""
        factor = self.one(0.83, 1.2)
        changed = F.interpolate(clips[:, None], scale_factor=factor, mode="linear")[:, 0]
        samples = clips.shape[-1]
        return changed[:, :samples] if factor > 1 else F.pad(changed, (0, samples - changed.shape[-1]))

    def reverberate(self, clips: Tensor) -> Tensor:
        """A measured room, or noise that decays within 0.15 to 2 s, 8 dB above to 12 dB below the direct sound."""
        count, samples = clips.shape
        if self.rirs and self.one(0, 1) < 0.5:
            rir = self.rirs[int(self.one(0, len(self.rirs) - 1e-6))]
            response = F.pad(rir, (0, max(0, SAMPLING_RATE - len(rir))))[:SAMPLING_RATE].expand(count, -1)
        else:
            time = torch.arange(SAMPLING_RATE, device=self.device) / SAMPLING_RATE
            t60 = 0.15 * (2 / 0.15) ** self.uniform(count, 0, 1)
            tail = self.noise_like(clips.new_empty(count, SAMPLING_RATE)) * 10 ** (-3 * time / t60)
            tail[:, : int(0.002 * SAMPLING_RATE)] = 0
            ratio = 10 ** (self.uniform(count, -8, 12) / 20)
            response = tail / (tail.square().sum(-1, keepdim=True).sqrt() + EPSILON) / ratio
            response[:, 0] = 1
        size = samples + SAMPLING_RATE
        return torch.fft.irfft(torch.fft.rfft(clips, size) * torch.fft.rfft(response, size), size)[:, :samples]

    def add_recorded_noise(self, clips: Tensor) -> Tensor:
        """Recordings at -8 to 45 dB; a third of them comes and goes."""
        noise = self.noise.draw(self.generator, *clips.shape)
        envelope = self.slow(len(clips), clips.shape[-1], 0.3).sigmoid() ** 2
        steady = self.uniform(len(clips), 0, 1) < 0.67
        return self.mix(clips, torch.where(steady, noise, noise * envelope), -8, 45)

    def add_coloured_noise(self, clips: Tensor) -> Tensor:
        """Stationary noise whose power falls by up to 9 dB, or rises by 3 dB, an octave, at 0 to 45 dB."""
        spectrum = torch.fft.rfft(self.noise_like(clips))
        frequency = torch.arange(1, spectrum.shape[-1] + 1, device=self.device)
        return self.mix(clips, self.back(spectrum * frequency ** self.uniform(len(clips), -1.5, 0.5), clips), 0, 45)

    def add_babble(self, clips: Tensor) -> Tensor:
        """One to five of the other clips, at -5 to 35 dB."""
        talkers = int(self.one(1, 6))
        orders = (torch.randperm(len(clips), generator=self.generator, device=self.device) for _ in range(talkers))
        babble = sum(clips[order].roll(int(self.one(0.2, 0.8) * clips.shape[-1]), -1) for order in orders)
        assert isinstance(babble, Tensor)
        return self.mix(clips, babble, -5, 35)

    def add_hum(self, clips: Tensor) -> Tensor:
        """A tone of 45 to 130 Hz with its first harmonics, at 0 to 40 dB."""
        time = torch.arange(clips.shape[-1], device=self.device) / SAMPLING_RATE
        angle = 2 * math.pi * self.uniform(len(clips), 45, 130) * time
        hum = sum(self.uniform(len(clips), 0, 1 / k) * (k * angle).sin() for k in range(1, 7))
        assert isinstance(hum, Tensor)
        return self.mix(clips, hum, 0, 40)

    def modulate_noise(self, clips: Tensor) -> Tensor:
        """Noise in proportion to the speech as in ITU-T P.810, without its filters, at 3 to 40 dB."""
        return clips * (1 + self.noise_like(clips) * 10 ** (-self.uniform(len(clips), 3, 40) / 20))

    def suppress_noise(self, clips: Tensor) -> Tensor:
        """Spectral subtraction, which leaves musical noise and takes weak speech away."""
        spectrum = self.spectrum(clips)
        size = spectrum.abs()
        quiet = size.kthvalue(1 + int(self.one(0.1, 0.5) * size.shape[-1]), dim=-1, keepdim=True).values
        strength = self.uniform(len(clips), 1, 6)[..., None]
        floor = 10 ** (-self.uniform(len(clips), 6, 40) / 20)[..., None]
        gain = (1 - strength * quiet / (size + EPSILON)).clamp(min=0)
        return self.signal(spectrum * torch.maximum(gain, floor), clips)

    def gate(self, clips: Tensor) -> Tensor:
        """Quiet frames are muted or made quieter, as by a wrong detector of speech."""
        frame = 320
        power = F.pad(clips, (0, -clips.shape[-1] % frame)).unfold(-1, frame, frame).square().mean(-1)
        threshold = active_level(clips).square() * 10 ** (-self.uniform(len(clips), 3, 30) / 10)
        floor = 10 ** (-self.uniform(len(clips), 10, 80) / 20)
        gain = torch.where(power > threshold, 1.0, floor)
        return clips * gain.repeat_interleave(frame, -1)[:, : clips.shape[-1]]

    def limit_band(self, clips: Tensor) -> Tensor:
        """High-pass at 60 to 1500 Hz, low-pass at 1 to 7.8 kHz, or both, of 6 to 120 dB an octave."""
        spectrum, octaves = self.octaves(clips)
        count = len(clips)
        which = self.uniform(count, 0, 1)
        low = torch.where(which < 0.6, math.log2(60) + self.uniform(count, 0, 1) * math.log2(25), -10.0)
        high = torch.where(which > 0.35, math.log2(1000) + self.uniform(count, 0, 1) * math.log2(7.8), 20.0)
        slope = self.uniform(count, 6, 120)
        loss = slope * ((low - octaves).clamp(min=0) + (octaves - high).clamp(min=0))
        return self.back(spectrum * 10 ** (-loss.clamp(max=90) / 20), clips)

    def equalise(self, clips: Tensor) -> Tensor:
        """A smooth random response, of deviations of 1 to 12 dB, over nine bands."""
        spectrum, octaves = self.octaves(clips)
        bands = 9
        points = self.uniform(len(clips), 1, 12) * torch.randn(
            len(clips), bands, generator=self.generator, device=self.device
        )
        place = ((octaves - 5) / 8 * (bands - 1)).clamp(0, bands - 1.001)
        left, share = place.floor().long(), place.frac()
        gain = points[:, left] * (1 - share) + points[:, left + 1] * share
        return self.back(spectrum * 10 ** (gain / 20), clips)

    def clip(self, clips: Tensor) -> Tensor:
        """At 3 to 60 % of the largest amplitude, hard or soft."""
        limit = clips.abs().amax(-1, keepdim=True) * 0.03 * 20 ** self.uniform(len(clips), 0, 1) + EPSILON
        hard = self.uniform(len(clips), 0, 1) < 0.6
        return torch.where(hard, clips.clamp(-limit, limit), limit * (clips / limit).tanh())

    def quantise(self, clips: Tensor) -> Tensor:
        """To 3 to 9 bits, evenly or by the mu-law."""
        peak = clips.abs().amax(-1, keepdim=True) + EPSILON
        steps = 2 ** self.uniform(len(clips), 2, 8)
        values = clips / peak
        companded = values.sign() * torch.log1p(255 * values.abs()) / math.log(256)
        expanded = (companded * steps).round() / steps
        expanded = expanded.sign() * torch.expm1(expanded.abs() * math.log(256)) / 255
        even = self.uniform(len(clips), 0, 1) < 0.4
        return torch.where(even, (values * steps).round() / steps, expanded) * peak

    def quantise_spectrum(self, clips: Tensor) -> Tensor:
        """As codecs of low rate do: weak bins of each frame are dropped, the others have steps of 0.5 to 15 dB."""
        spectrum = self.spectrum(clips)
        size = spectrum.abs() + EPSILON
        weight = torch.linspace(0, 1, size.shape[1], device=self.device)[:, None] * self.one(0, 30)
        heard = 20 * size.log10() - weight
        loudest = heard.amax(1, keepdim=True)
        kept = heard > loudest - self.uniform(len(clips), 8, 60)[..., None]
        step = self.uniform(len(clips), 0.5, 15)[..., None]
        coarse = 10 ** ((20 * size.log10() / step).round() * step / 20)
        return self.signal(spectrum / size * coarse * kept, clips)

    def scramble_phase(self, clips: Tensor) -> Tensor:
        """Phases are disturbed from a frequency on, as by vocoders: rough and metallic."""
        spectrum = self.spectrum(clips)
        start = self.uniform(len(clips), 0, 0.7).square()[..., None] * spectrum.shape[1]
        upper = torch.arange(spectrum.shape[1], device=self.device)[:, None] >= start
        amount = self.uniform(len(clips), 0.05, 1)[..., None] * upper
        noise = torch.rand(spectrum.shape, generator=self.generator, device=self.device) - 0.5
        return self.signal(spectrum * torch.polar(torch.ones_like(noise), 2 * math.pi * amount * noise), clips)

    def smear(self, clips: Tensor) -> Tensor:
        """Magnitudes are averaged over 3 to 15 frames of 8 ms, or over neighbouring bins."""
        spectrum = self.spectrum(clips)
        size = spectrum.abs()
        width = 2 * int(self.one(1, 8)) + 1
        if self.one(0, 1) < 0.5:
            smooth = F.avg_pool1d(size, width, 1, width // 2)
        else:
            smooth = F.avg_pool1d(size.transpose(1, 2), width, 1, width // 2).transpose(1, 2)
        share = self.uniform(len(clips), 0.3, 1)[..., None]
        return self.signal(spectrum / (size + EPSILON) * (share * smooth + (1 - share) * size), clips)

    def resynthesise(self, clips: Tensor) -> Tensor:
        """From 16 to 80 mel bands without phases, by the method of Griffin and Lim (1984), as simple vocoders do."""
        size = self.spectrum(clips).abs()
        bands = int(16 * 5 ** self.one(0, 1))
        filters = melscale_fbanks(257, 0.0, SAMPLING_RATE / 2, bands, SAMPLING_RATE).T.to(self.device)
        # Each bin is the weighted mean of the bands it belongs to.
        share = filters / (filters.sum(0, keepdim=True) + EPSILON)
        smooth = share.T @ ((filters / (filters.sum(1, keepdim=True) + EPSILON)) @ size)
        spectrum = torch.polar(
            smooth, 2 * math.pi * torch.rand(size.shape, generator=self.generator, device=self.device)
        )
        for _ in range(int(16 ** self.one(0, 1))):
            spectrum = torch.polar(smooth, self.spectrum(self.signal(spectrum, clips)).angle())
        return self.signal(spectrum, clips)

    def lose_packets(self, clips: Tensor) -> Tensor:
        """1 to 35 % of packets of 10 to 60 ms, alone or in bursts: silent, repeated, or repeated and faded."""
        packet = int(self.one(0.01, 0.06) * SAMPLING_RATE)
        frames = F.pad(clips, (0, -clips.shape[-1] % packet)).unflatten(-1, (-1, packet))
        rate = 0.01 * 35 ** self.uniform(len(clips), 0, 1)
        burst = int(self.one(1, 6))
        lost = torch.rand(frames.shape[:2], generator=self.generator, device=self.device) < rate / burst
        lost = F.max_pool1d(F.pad(lost.float(), (burst - 1, 0))[:, None], burst, 1)[:, 0] > 0
        # The last packet before a loss: the index of the newest that came.
        numbers = torch.arange(frames.shape[1], device=self.device).expand_as(lost)
        newest = torch.where(lost, 0, numbers).cummax(-1).values
        repeated = frames.gather(1, newest[..., None].expand_as(frames))
        way = self.uniform(len(clips), 0, 1)[..., None]
        age = (numbers - newest)[..., None]
        gain = torch.where(way < 0.5, 0.0, torch.where(way < 0.75, 1.0, 0.5 ** age.float()))
        return torch.where(lost[..., None], repeated * gain, frames).flatten(1)[:, : clips.shape[-1]]

    def fade(self, clips: Tensor) -> Tensor:
        """The level wanders by some 10 dB within seconds."""
        return clips * 10 ** (self.slow(len(clips), clips.shape[-1], 1.0) * self.uniform(len(clips), 2, 15) / 20)

    def slow(self, count: int, samples: int, period_s: float) -> Tensor:
        """(count, samples) of a normal variable that changes within so many seconds."""
        points = max(2, math.ceil(samples / SAMPLING_RATE / period_s) + 1)
        values = torch.randn(count, 1, points, generator=self.generator, device=self.device)
        return F.interpolate(values, size=samples, mode="linear", align_corners=True)[:, 0]

    def octaves(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Spectrum of the whole clips (batch, bins), and its frequencies (bins,) in octaves above 1 Hz."""
        spectrum = torch.fft.rfft(clips)
        frequency = torch.linspace(1, SAMPLING_RATE / 2, spectrum.shape[-1], device=self.device)
        return spectrum, frequency.log2()

    @staticmethod
    def back(spectrum: Tensor, clips: Tensor) -> Tensor:
        """Signal of a spectrum of whole clips."""
        return torch.fft.irfft(spectrum, clips.shape[-1])

    def spectrum(self, clips: Tensor) -> Tensor:
        """Short-time spectrum, 257 bins by frames of 32 ms every 8 ms."""
        window = torch.hann_window(512, device=self.device)
        return torch.stft(clips, 512, 128, window=window, return_complex=True)

    def signal(self, spectrum: Tensor, clips: Tensor) -> Tensor:
        """Its inverse, as long as the clips."""
        window = torch.hann_window(512, device=self.device)
        return torch.istft(spectrum, 512, 128, window=window, length=clips.shape[-1])
