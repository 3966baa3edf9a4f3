"""One DPO training: TRL's DPOTrainer on pairs whose reference log-probabilities the Score stage computed.

    job.DpoJob -> pairs (tokens) -> training.train -> weights.save_trained -> folder for from_pretrained
                      in this process, or in processes started by launch.launch (torchrun -> worker)

Nothing here knows of stages or workspaces: a job names local folders, a Report receives its events.
"""
