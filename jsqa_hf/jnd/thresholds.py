"""Perceptual thresholds: how large a change must be before a listener hears it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """Two thresholds on the change of one quantity.

    A change of up to `just_noticeable` is taken as unheard, so two clips that far apart share their quality. From
    `clearly_different` on, their qualities are taken to differ. Changes in between are ambiguous and are not used.

    Attributes:
        quantity: What is changed, such as `"SNR"`.
        unit: Unit of both thresholds, such as `"dB"`.
        just_noticeable: Largest change taken as unheard.
        clearly_different: Smallest change taken as clearly heard.
        source: Where the figures come from.
    """

    quantity: str
    unit: str
    just_noticeable: float
    clearly_different: float
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.just_noticeable < self.clearly_different:
            raise ValueError(
                f"thresholds of {self.quantity} must satisfy 0 < just_noticeable < clearly_different, got "
                f"{self.just_noticeable} and {self.clearly_different}"
            )


SNR_THRESHOLD = Threshold(
    quantity="SNR",
    unit="dB",
    just_noticeable=3.0,
    clearly_different=8.0,
    source=(
        "JND: 3 dB, the mean of 69 listeners for sentences in speech-spectrum noise, independent of hearing ability "
        "(McShefferty, Whitmer and Akeroyd, Trends in Hearing 2015, doi:10.1177/2331216515572316). Clearly different: "
        "upper end of the just-meaningful difference of 6 to 8 dB, at which half of the listeners would swap devices "
        "(McShefferty, Whitmer and Akeroyd, Trends in Hearing 2016, doi:10.1177/2331216515626570). The crowdsourced "
        "same/different answers of PerceptualAudio (Manocha et al., Interspeech 2020) agree: where the noise is "
        "clearly audible, a share of 0.07 to 0.14 hears a change of up to 3 dB, and 0.79 one of 8 to 12 dB. That the "
        "same steps hold for nearly inaudible noise is an assumption."
    ),
)
