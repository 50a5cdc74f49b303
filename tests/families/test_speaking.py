"""SpeechT5 and its vocoder against the reference implementation, on random weights and prime sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.testing import assert_close

from regard import models
from regard.errors import BadFileError, RegardError
from regard.generate.speech import Speaking, spectrogram
from regard.layers import Context, Key, Voice
from regard.ops.losses import guided_attention_loss
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
MELS, SPEAKER, TOGETHER = 5, 7, 2
TALKER: dict[str, Any] = {
    "vocab_size": 31, "hidden_size": 22, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 17,
    "decoder_layers": 3, "decoder_ffn_dim": 13, "decoder_attention_heads": 11, "num_mel_bins": MELS,
    "speech_decoder_prenet_units": 19, "speaker_embedding_dim": SPEAKER, "speech_decoder_postnet_layers": 3,
    "speech_decoder_postnet_units": 23, "speech_decoder_postnet_kernel": 3, "reduction_factor": TOGETHER,
    "max_text_positions": 37, "max_speech_positions": 101, "encoder_max_relative_position": 4,
    "mask_time_prob": 0.0, "layer_norm_eps": 1e-4,
}  # fmt: skip
HEARD: dict[str, Any] = {
    "model_in_dim": MELS, "upsample_initial_channel": 12, "upsample_rates": [3, 2], "upsample_kernel_sizes": [5, 4],
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 2]], "leaky_relu_slope": 0.2,
}  # fmt: skip
TOKENS = torch.tensor([[5, 17, 3, 29, 11, 8, 23, 4, 4, 30, 6]])


@dataclass(frozen=True, eq=False)
class Twins:
    reference: Any
    model: Any
    module: ModuleType
    folder: Path


def randomised(reference: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    for name, tensor in reference.state_dict().items():
        if tensor.is_floating_point() and tensor.numel():
            spread = torch.empty_like(tensor).normal_(0.0, 0.3, generator=generator)
            one = (tensor.dim() == 1 and (("norm" in name and "weight" in name) or name == "scale")) or "alpha" in name
            tensor.copy_(spread + 1 if one else spread)
            if name.endswith("running_var") or name == "scale":
                tensor.abs_().add_(0.5)
    return reference.eval()


def read(folder: Path) -> tuple[Any, ModuleType]:
    data = json.loads((folder / "config.json").read_text())
    module = models.family(str(models.of_type(data["model_type"])))
    model = models.empty(module.read(data, "config.json"))
    table.read(module.TABLE, files.Folder(folder), model, str(folder))
    return model.eval(), module


def twins_of(reference: nn.Module, folder: Path) -> Twins:
    reference = randomised(reference)
    reference.save_pretrained(folder)  # type: ignore[operator]
    return Twins(reference, *read(folder), folder)


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    config = transformers.SpeechT5Config(**TALKER)
    config._attn_implementation = "eager"
    return twins_of(transformers.SpeechT5ForTextToSpeech(config), tmp_path_factory.mktemp("talker"))


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    config = transformers.SpeechT5HifiGanConfig(**HEARD)
    return twins_of(transformers.SpeechT5HifiGan(config), tmp_path_factory.mktemp("vocoder"))


@pytest.fixture
def calm(talker: Twins) -> Iterator[Twins]:
    """The reference without the dropout that it has in evaluation too."""
    prenet = talker.reference.speecht5.decoder.prenet
    prenet._consistent_dropout = lambda x, p: x
    yield talker
    del prenet._consistent_dropout


def voice(rows: int = 1, key: Key | None = None) -> Voice:
    return Voice(vector=torch.randn(rows, SPEAKER, generator=torch.Generator().manual_seed(2)), key=key)


def frames(count: int, rows: int = 1) -> Tensor:
    return torch.randn(rows, count, MELS, generator=torch.Generator().manual_seed(4))


def shifted(wanted: Tensor) -> Tensor:
    """What the decoder reads: the last frame of each step, one step late."""
    thin = wanted[:, TOGETHER - 1 :: TOGETHER]
    return torch.cat((torch.zeros_like(thin[:, :1]), thin[:, :-1]), 1)


@pytest.mark.shows("speecht5", "outputs", "hidden_states", "loss")
def test_outputs_layers_and_losses(calm: Twins) -> None:
    wanted = frames(14)
    with torch.no_grad():
        states: dict[str, list[Tensor]] = {"encoder": [], "stack": []}
        handles = [
            block.register_forward_hook(lambda _, inputs, out, side=side: states[side].append(out))
            for side in states
            for block in getattr(calm.model, side).blocks
        ]
        sketch = calm.model(TOKENS, shifted(wanted), None, Context(voice=voice()))
        for handle in handles:
            handle.remove()
        found = calm.reference(
            input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS), speaker_embeddings=voice().vector,
            labels=wanted.clone(), output_hidden_states=True, output_attentions=True,
        )  # fmt: skip
        assert_close(sketch.fine, found.spectrogram)
        for side, theirs in (("encoder", found.encoder_hidden_states), ("stack", found.decoder_hidden_states)):
            for mine, other in zip(states[side], theirs[1:], strict=True):
                assert_close(mine, other)
        missed = calm.model.head.loss(sketch, wanted, [14])
        weights = torch.cat([layer[:, :2] for layer in found.cross_attentions], 1)
        guided = 10.0 * guided_attention_loss(weights, [7], [11], 0.4) / weights.numel()
        assert_close(missed.frames / missed.values + missed.ends / missed.count + guided, found.loss)


def test_losses_of_padded_rows_are_the_references(calm: Twins) -> None:
    wanted = frames(14, 2)
    sketch = calm.model.head(torch.randn(2, 7, 22, generator=torch.Generator().manual_seed(1)))
    labels = wanted.clone()
    labels[1, 6:] = -100.0
    criterion = transformers.models.speecht5.modeling_speecht5.SpeechT5SpectrogramLoss(calm.reference.config)
    criterion.use_guided_attention_loss = False
    expected = criterion(torch.ones(2, 1), sketch.rough, sketch.fine, sketch.stops, labels)
    missed = calm.model.head.loss(sketch, wanted, [14, 6])
    assert_close(missed.frames / missed.values + missed.ends / missed.count, expected)
    weights = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(1))
    inside, outside = torch.arange(5) < torch.tensor([[5], [3]]), torch.arange(7) < torch.tensor([[7], [3]])
    guide = transformers.models.speecht5.modeling_speecht5.SpeechT5GuidedMultiheadAttentionLoss(calm.reference.config)
    found = guided_attention_loss(weights, [7, 3], [5, 3], guide.sigma)
    assert_close(guide.scale * found / (3 * (7 * 5 + 3 * 3)), guide(weights, inside, outside))


@pytest.mark.shows("speecht5", "generation")
@pytest.mark.parametrize("stop", [0.9, 5.0])
def test_spectrograms_are_the_references(calm: Twins, stop: float) -> None:
    told = {"threshold": stop, "maxlenratio": 3.0, "minlenratio": 0.5}
    expected = calm.reference.generate_speech(TOKENS, speaker_embeddings=voice().vector, **told)
    settings = Speaking(stop=stop, least=0.5, most=3.0)
    found = spectrogram(calm.model, TOKENS[0].tolist(), voice().vector[0], settings=settings)
    assert_close(found, expected)
    assert len(found) >= 4


def test_the_dropout_of_evaluation_is_the_references_and_follows_from_the_key(talker: Twins) -> None:
    prenet, embed = talker.reference.speecht5.decoder.prenet, talker.model.target_embed
    key, calls = Key(5), iter(range(100))
    prenet._consistent_dropout = lambda x, p: x * embed.kept(x, key.at(next(calls)))
    with torch.no_grad():
        x = frames(7)
        expected = prenet(x, voice().vector)
        del prenet._consistent_dropout
        told = [Context(voice=voice(key=each)).open((1, 7), x.device) for each in (key, key, Key(6))]
        found, again, other = (embed(x, context) for context in told)
    assert_close(found, expected)
    assert torch.equal(found, again) and not torch.equal(found, other)


@pytest.mark.shows("speecht5", "cache", "future")
def test_cached_is_uncached_and_no_frame_hears_a_later_one(talker: Twins) -> None:
    x = shifted(frames(22))
    with torch.no_grad():
        memory = talker.model.encode(TOKENS)
        whole = talker.model.hidden(x, Context(memory=memory, voice=voice()))
        cache = talker.model.cache()
        pieces = [
            talker.model.hidden(piece, Context(memory=memory, voice=voice(), cache=cache))
            for piece in x.split([3, 1, 5, 2], 1)
        ]
        assert_close(torch.cat(pieces, 1), whole, atol=5e-5, rtol=1e-5)
        changed = x.clone()
        changed[:, 6] += 3.0
        after = talker.model.hidden(changed, Context(memory=memory, voice=voice()))
    assert torch.equal(after[:, :6], whole[:, :6]) and not torch.equal(after[:, 6], whole[:, 6])


@pytest.mark.shows("speecht5", "padding")
def test_a_row_beside_others_gets_what_it_gets_alone(talker: Twins) -> None:
    tokens, lengths, counts = TOKENS.repeat(2, 1), (11, 4), (9, 5)
    x, source, target = frames(9, 2), Context.padded(lengths), Context.padded(counts)
    with torch.no_grad():
        both = voice(2)
        told = Context(positions=target.positions, voice=both)
        together = talker.model(tokens, x, source, told)
        other = talker.model(tokens.clone().index_fill_(1, torch.tensor([10]), 9), x, source, told)
        assert torch.equal(other.fine[1, : 2 * counts[1]], together.fine[1, : 2 * counts[1]])
        for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
            alone = talker.model(
                tokens[row : row + 1, :length], x[row : row + 1, :count], None,
                Context(voice=Voice(vector=both.vector[row : row + 1])),
            )  # fmt: skip
            assert_close(together.fine[row, : 2 * count], alone.fine[0])
            assert_close(together.stops[row, : 2 * count], alone.stops[0])


@pytest.mark.shows("speecht5_hifigan", "outputs")
def test_the_vocoder_is_the_references(vocoder: Twins) -> None:
    for count in (1, 13):
        with torch.no_grad():
            found = vocoder.model(frames(count, 2))
            assert_close(found, vocoder.reference(frames(count, 2)))
        assert found.shape == (2, count * 6)


@pytest.mark.shows("speecht5_hifigan", "back")
def test_the_vocoder_comes_back(vocoder: Twins, tmp_path: Path) -> None:
    comes_back(vocoder, tmp_path)


@pytest.mark.shows("speecht5", "back")
def test_the_talker_comes_back(talker: Twins, tmp_path: Path) -> None:
    comes_back(talker, tmp_path)


def comes_back(twins: Twins, folder: Path) -> None:
    """The reference reads what we write, bit for bit, and we read it again."""
    files.write(folder, table.write(twins.module.TABLE, twins.model), shard=5_000)
    written = twins.module.write(twins.model.config)
    (folder / "config.json").write_text(json.dumps(written))
    again, info = type(twins.reference).from_pretrained(folder, output_loading_info=True)
    assert not info["unexpected_keys"] and not info["mismatched_keys"]
    assert all(key.endswith("num_batches_tracked") for key in info["missing_keys"])
    for key, tensor in twins.reference.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(tensor, again.state_dict()[key]), key
    once_more, module = read(folder)
    for name, parameter in twins.model.named_parameters():
        assert torch.equal(parameter, once_more.get_parameter(name)), name
    assert once_more.config == twins.model.config == module.read(written, "config.json")


def test_what_cannot_be_is_refused_by_name(talker: Twins, vocoder: Twins) -> None:
    with pytest.raises(RegardError, match="0 tokens"):
        spectrogram(talker.model, [], voice().vector[0])
    with pytest.raises(RegardError, match="38 tokens"):
        spectrogram(talker.model, [5] * 38, voice().vector[0])
    with pytest.raises(RegardError, match="7 numbers"):
        spectrogram(talker.model, [5], torch.zeros(SPEAKER + 1))
    with pytest.raises(RegardError, match="no room"):
        spectrogram(talker.model, [5], voice().vector[0], settings=Speaking(most=0.5))
    data = talker.module.write(talker.model.config)
    for change in (
        {"architectures": ["SpeechT5ForSpeechToText"]}, {"hidden_size": 21}, {"speech_decoder_postnet_kernel": 4},
        {"odd_thing": 3}, {"num_mel_bins": 1 << 40},
    ):  # fmt: skip
        with pytest.raises(BadFileError):
            talker.module.read({**data, **change}, "config.json")
    data = vocoder.module.write(vocoder.model.config)
    for change in (
        {"upsample_rates": [3]}, {"upsample_kernel_sizes": [4, 4]}, {"resblock_kernel_sizes": [2, 5]},
        {"upsample_initial_channel": 7}, {"resblock_dilation_sizes": [[1] * 9, [1, 2]]},
    ):  # fmt: skip
        with pytest.raises(BadFileError):
            vocoder.module.read({**data, **change}, "config.json")
