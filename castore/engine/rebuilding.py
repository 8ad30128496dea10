"""stub"""
def facts_of_survey(files):
    raise NotImplementedError
