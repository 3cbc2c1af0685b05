"""Pages: who may, what came, one act, message, redirect.

One module for each subject that people see. `forms` checks what they type; `figures` and `chart` are the numbers of the
last thirty days; `csv_response` and `downloads` write files.
"""
