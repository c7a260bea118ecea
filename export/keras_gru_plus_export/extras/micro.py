def files(context):
    return {}
