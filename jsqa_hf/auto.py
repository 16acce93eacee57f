"""Makes the Auto classes and `pipeline` of transformers know JSQA; importing this module is enough."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_jsqa import JSQAConfig
from .feature_extraction_jsqa import JSQAFeatureExtractor
from .modeling_jsqa import JSQAForContrastivePretraining, JSQAForMOSRegression, JSQAModel
from .pipeline_jsqa import SpeechQualityPipeline

TASK = "speech-quality-assessment"

AutoConfig.register(JSQAConfig.model_type, JSQAConfig, exist_ok=True)
AutoFeatureExtractor.register(JSQAConfig, JSQAFeatureExtractor, exist_ok=True)
# `architectures` in config.json picks the class; the first one is for a configuration without weights.
AutoModel.register(JSQAConfig, (JSQAForMOSRegression, JSQAModel, JSQAForContrastivePretraining), exist_ok=True)
AutoModelForAudioClassification.register(JSQAConfig, JSQAForMOSRegression, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=SpeechQualityPipeline, pt_model=AutoModel, type="audio")

# What is saved carries its own code, so that it loads with `trust_remote_code=True` where this package is missing.
JSQAConfig.register_for_auto_class()
JSQAFeatureExtractor.register_for_auto_class()
for _model_class in (JSQAModel, JSQAForContrastivePretraining, JSQAForMOSRegression):
    _model_class.register_for_auto_class("AutoModel")
